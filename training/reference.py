"""The base, with or without an adapter, in torch: what the exported files are compared with."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_CAPPED = {"gemma2"}  # caps its attention, which SDPA cannot
_SCORES_BYTES = 2**29


def pick_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries' own progress bars and advice out of a run's log."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("peft").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def load_base(folder: Path, device: torch.device, *, scores_kept: int | None = None) -> Any:
    """Load a Hugging Face folder in fp32.

    Args:
        folder: The base.
        device: Where to.
        scores_kept: Query-key pairs of one head that a training step keeps. On a CPU plain attention
            is faster than the fused one, as long as its scores fit (see `_SCORES_BYTES`). None: the
            model is not trained.

    Returns:
        A transformers causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    heads = config.num_attention_heads * config.num_hidden_layers
    small = scores_kept is not None and 4 * heads * scores_kept <= _SCORES_BYTES
    plain = config.model_type in _CAPPED or (small and device.type == "cpu")
    attention = "eager" if plain else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
    )
    return model.to(device)


class TorchIntern:
    """A base with its adapter in torch, for comparison only.

    Args:
        base_folder: The base as a Hugging Face folder.
        adapter_folder: The PEFT folder, or None for the bare base.
    """

    def __init__(self, base_folder: Path, adapter_folder: Path | None) -> None:
        from peft import PeftModel

        self._device = pick_device()
        with quiet_libraries():
            model = load_base(base_folder, self._device)
            if adapter_folder is not None:
                model = PeftModel.from_pretrained(model, str(adapter_folder))
        self._model = model.eval()

    @torch.inference_mode()
    def logits(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Next-token logits at every position, shape (tokens, vocabulary)."""
        tensor = torch.tensor([list(ids)], device=self._device)
        out: npt.NDArray[np.float32] = self._model(input_ids=tensor).logits[0].float().cpu().numpy()
        return out
