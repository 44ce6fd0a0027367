"""A run becomes the base that serves: one GGUF, checked against torch, with its card."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Conflict, GateNotMet, Incompatible
from interns.gguf.base_file import write_base_gguf
from interns.gguf.weights import Weights
from interns.manifest import sha256_of
from interns.paths import Paths
from training.artifacts import read_json, saving, write_json
from training.base_check import verify_base
from training.pretraining.attribution import FILE as ATTRIBUTION
from training.pretraining.attribution import write_attribution
from training.pretraining.card import ABOUT, write_card
from training.pretraining.chat import BOS, END, PAD, TEMPLATE
from training.pretraining.checkpoint import load_checkpoint
from training.pretraining.curves import Curve
from training.pretraining.folder import make_folder, owned, put_in_place
from training.pretraining.recipe import PretrainRecipe, Shape, recipe_from_dict
from training.pretraining.stage import CHECKPOINT, FACTS
from training.pretraining.tokenizer import control_id, load_tokenizer, tokenizer_sha256
from training.reference import quiet_libraries

COMMITTED = Path(__file__).parents[1] / "recipes" / "pretrain" / "tokenizer.json"
GGUF = "base.gguf"


def export_base(
    run: Path,
    out: Path,
    tokenizer: Path | None = None,
    *,
    file_type: str = "Q8_0",
    positions: int = 0,
) -> dict[str, Any]:
    """Write ``base.gguf``, its tokenizer files, card, attribution and curves into `out`.

    The folder appears whole and verified, or not at all; it is what a data directory holds under
    ``bases/NAME``.

    Args:
        run: A run's folder, finished or not, or the ``result`` folder of a finished one.
        out: The folder to make; a base that is there already is replaced.
        tokenizer: The tokenizer of the run, by default the committed one.
        file_type: ``F16``, ``F32`` or ``Q8_0``. A base of this size chooses another next token than
            torch in 1 of 40 places when llama.cpp computes in 8 bits (decision 0012).
        positions: Longest sequence that the file allows; 0 for the longest it learned from. Beyond
            that answers get worse, not impossible.

    Returns:
        What `training.base_check.verify_base` found, and ``bytes`` of the file.

    Raises:
        BrokenFile: The run's files are missing or damaged.
        Incompatible: The tokenizer is not the run's, or llama.cpp could not repeat it; or the
            checkpoint is of another step than the run's facts.
        GateNotMet: llama.cpp and torch disagree; nothing is written.
        NoSpace: The disk is full; nothing is written.
        Conflict: `out` is there and is no base, or the run is going on.
    """
    if out.exists() and not (out / GGUF).is_file():
        raise Conflict(f"{out} is there already and holds no base.", "Give another folder.")
    # A run's own folder changes while it goes on; a result folder is finished.
    with owned(run) if (run / CHECKPOINT).is_file() else nullcontext():
        return _export(run, out, tokenizer or COMMITTED, file_type, positions)


def _export(run: Path, out: Path, source: Path, file_type: str, positions: int) -> dict[str, Any]:
    facts = _facts(run)
    recipe = recipe_from_dict(facts["recipe"])
    found = tokenizer_sha256(load_tokenizer(source, recipe.shape.vocabulary))
    if found != facts["identity"]["tokenizer"]:
        raise Incompatible(
            f"{source} is not the tokenizer of this run.", "Give the run's with --tokenizer."
        )
    make_folder(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as work:
        whole, hf = Path(work) / "base", Path(work) / "hf"
        whole.mkdir()
        with saving(out.parent, "the exported base"):
            _write_hf(hf, _allowing(recipe, positions), _weights(run, facts), source)
            write_base_gguf(hf, whole / GGUF, file_type, name=recipe.name, about=ABOUT)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(hf / name, whole / name)
            for name in ("curve.jsonl", "curve.svg"):
                shutil.copyfile(run / name, whole / name)
            # A killed stage may have gone beyond its last checkpoint.
            Curve(whole / "curve.jsonl").cut(facts["step"])
            shutil.rmtree(hf)
            verified = _verify(whole, recipe.name, Paths(Path(work) / "home"))
            (whole / "CARD.md").write_text(
                write_card(recipe, facts, verified, file_type, positions), encoding="utf-8"
            )
            (whole / ATTRIBUTION).write_text(write_attribution(facts["sources"]), encoding="utf-8")
            put_in_place(whole, out)
    return verified | {"bytes": (out / GGUF).stat().st_size, "base": str(out)}


def hf_config(shape: Shape, ids: Mapping[str, int]) -> dict[str, Any]:
    """``config.json`` as transformers reads it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": ids[BOS],
        "eos_token_id": ids[END],
        "pad_token_id": ids[PAD],
        "dtype": "float32",
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": shape.context,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "tie_word_embeddings": True,
        "vocab_size": shape.vocabulary,
    }


def _facts(run: Path) -> dict[str, Any]:
    if not (run / FACTS).is_file():
        raise BrokenFile(
            f"{run} holds no {FACTS}: no stage of a run ended there.",
            "Give a run's folder, or its result folder.",
        )
    return dict(read_json(run / FACTS))


def _weights(run: Path, facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by their Hugging Face names, float32."""
    checkpoint = run / CHECKPOINT
    if not checkpoint.is_file():
        return {name: torch.from_numpy(value) for name, value in Weights.of_folder(run).items()}
    found = load_checkpoint(checkpoint)
    if found.step != facts["step"]:
        raise Incompatible(
            f"{checkpoint} is of step {found.step}, but {FACTS} of step {facts['step']}: the last stage "
            "was killed before it could tell of itself.",
            "Run a stage to its end, which --minutes 0 makes a short one; then export.",
        )
    if found.identity != facts["identity"]:
        raise Incompatible(
            f"{checkpoint} and {FACTS} beside it are of two runs.", "Run a stage again."
        )
    return {f"model.{name}": weight.float() for name, weight in found.weights.items()}


def _allowing(recipe: PretrainRecipe, positions: int) -> PretrainRecipe:
    shape = dataclasses.replace(recipe.shape, context=positions or recipe.shape.context)
    return dataclasses.replace(recipe, shape=shape)


def _write_hf(
    folder: Path, recipe: PretrainRecipe, weights: dict[str, Tensor], tokenizer: Path
) -> None:
    folder.mkdir()
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    loaded = load_tokenizer(tokenizer, recipe.shape.vocabulary)
    ids = {token: control_id(loaded, token) for token in (BOS, END, PAD)}
    write_json(folder / "config.json", hf_config(recipe.shape, ids))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": recipe.shape.context,
    }
    write_json(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids[END]}))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _verify(folder: Path, name: str, home: Paths) -> dict[str, Any]:
    gguf = folder / GGUF
    base = BaseModelRef(name, gguf, sha256_of(gguf), folder)
    with quiet_libraries():
        verified = verify_base(base, home.create())
    if not verified["passed"]:
        raise GateNotMet(
            f"llama.cpp and torch disagree: {json.dumps(verified, ensure_ascii=False)}.",
            "The export is wrong: please report it with the run's folder.",
        )
    return verified
