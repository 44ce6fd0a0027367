"""The model that is pre-trained is the model that transformers and llama.cpp know."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.pretraining.attention import choose_kind, make_mask
from training.pretraining.export import hf_config
from training.pretraining.llama import Llama, initialize
from training.pretraining.muon import Muon, orthogonalize
from training.pretraining.packing import IGNORED
from training.pretraining.recipe import Course, Shape
from training.pretraining.schedule import decay_begins, rate_factor
from training.pretraining.throughput import flops_per_token

SHAPE = Shape(vocabulary=512, hidden=64, layers=2, heads=4, kv_heads=2, feed_forward=96, context=64)


def make_model(seed: int = 1) -> Llama:
    model = Llama(SHAPE)
    initialize(model, seed)
    # Larger than the usual beginning, so that attention is far from even.
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3.0)
    return model.eval()


def random_ids(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, SHAPE.vocabulary, (rows, SHAPE.context), generator=torch.Generator().manual_seed(seed)
    )


def one_document(ids: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(ids)


@torch.no_grad()
def test_logits_are_those_of_transformers() -> None:
    model = make_model()
    ids = {"<|endoftext|>": 0, "<|im_end|>": 2, "<|pad|>": 3}
    reference = LlamaForCausalLM(LlamaConfig(**hf_config(SHAPE, ids))).eval()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    reference.tie_weights()
    tokens = random_ids(2)
    found = model(tokens, make_mask(one_document(tokens), "dense"))
    torch.testing.assert_close(found, reference(tokens).logits, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_a_packed_document_is_read_as_if_it_stood_alone() -> None:
    model, tokens = make_model(), random_ids(1)
    documents = torch.zeros_like(tokens)
    documents[:, 20:] = 1
    documents[:, 50:] = -1
    packed = model(tokens, make_mask(documents, "dense"))
    for begin, end in ((0, 20), (20, 50), (50, 64)):
        alone = tokens[:, begin:end]
        expected = model(alone, make_mask(one_document(alone), "dense"))
        torch.testing.assert_close(packed[:, begin:end], expected, atol=2e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.no_grad()
def test_flex_attention_sees_what_the_plain_form_sees() -> None:
    model, tokens = make_model(), random_ids(2)
    documents = torch.arange(SHAPE.context).div(23, rounding_mode="floor").repeat(2, 1)
    documents[1] += torch.arange(SHAPE.context) > 40
    plain, flex = (model(tokens, make_mask(documents, kind)) for kind in ("dense", "flex"))
    torch.testing.assert_close(flex, plain, atol=2e-4, rtol=1e-4)


def test_without_cuda_the_plain_form_is_chosen_and_says_why() -> None:
    assert choose_kind(torch.device("cpu"), 4, 2, 16) == ("dense", "no flex attention on cpu")


@pytest.mark.parametrize("rows_and_columns", [(40, 40), (96, 32), (32, 96)])
def test_orthogonalized_matrices_have_singular_values_near_one(
    rows_and_columns: tuple[int, int],
) -> None:
    matrices = torch.randn(3, *rows_and_columns, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalize(matrices).float())
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_muon_moves_tall_matrices_further_and_decays_weights() -> None:
    square, tall = (torch.nn.Parameter(torch.zeros(n, 16)) for n in (16, 64))
    kept = torch.nn.Parameter(torch.ones(8, 8))
    for weight in (square, tall):
        weight.grad = torch.randn_like(weight)
    kept.grad = torch.zeros_like(kept)
    Muon([square, tall, kept], 0.1, weight_decay=0.5).step()
    assert torch.linalg.svdvals(square.detach()).max() == pytest.approx(0.1, rel=0.3)
    assert torch.linalg.svdvals(tall.detach()).max() == pytest.approx(0.2, rel=0.3)
    assert torch.allclose(kept, torch.full((8, 8), 0.95))


def test_learning_one_batch_by_heart_works_with_both_optimizers() -> None:
    model, tokens = Llama(SHAPE), random_ids(2)
    initialize(model, 1)
    matrices = [p for p in model.layers.parameters() if p.ndim == 2]
    muon = Muon(matrices, 0.02)
    adam = torch.optim.AdamW([model.embed_tokens.weight], 3e-3)
    mask, targets = make_mask(one_document(tokens), "dense"), tokens.roll(-1, 1)
    losses = []
    for _ in range(60):
        loss = model.loss(tokens, targets, mask) / targets.numel()
        loss.backward()
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(6.24, abs=0.2)  # ln 512
    assert losses[-1] < 0.7


def test_logits_everywhere_give_the_same_loss_as_where_something_is_learned() -> None:
    model, tokens = Llama(SHAPE), random_ids(2)
    initialize(model, 1)
    targets = tokens.roll(-1, 1)
    targets[:, ::3] = IGNORED
    mask = make_mask(one_document(tokens), "dense")
    losses = [model.loss(tokens, targets, mask), model.loss_everywhere(tokens, targets, mask)]
    gradients = [torch.autograd.grad(loss, [*model.parameters()]) for loss in losses]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)
    for sparse, whole in zip(*gradients, strict=True):
        assert torch.allclose(sparse, whole, rtol=1e-4, atol=1e-4)


def test_the_rate_rises_stays_and_falls_to_zero() -> None:
    course = Course(steps=100, warmup=10, decay=0.2)
    factors = [rate_factor(step, course) for step in range(100)]
    assert decay_begins(course) == 80
    assert factors[0] == 0.1
    assert factors[9:81] == [1.0] * 72
    assert factors[80:] == sorted(factors[80:], reverse=True)
    assert 0 < factors[-1] < 0.05
    assert rate_factor(0, replace(course, warmup=0)) == 1.0


def test_parameters_and_operations_are_counted_right() -> None:
    assert SHAPE.parameters == sum(p.numel() for p in Llama(SHAPE).parameters())
    assert flops_per_token(SHAPE) == 6 * SHAPE.parameters + 6 * 2 * 64 * 64
