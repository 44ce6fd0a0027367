"""Logits of llama.cpp with keys and values in 32 bits: what a file says, without serving's rounding."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import llama_cpp.llama_cpp as api
import numpy as np

from interns.runtime.llama_cpp.library import Model
from tests.making import GPU_LAYERS

TOKENS = 256


class ExactLogits:
    """One base; call it with token ids and, if wanted, the path of an adapter."""

    def __init__(self, gguf: Path) -> None:
        self._model = Model(gguf, GPU_LAYERS)
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = TOKENS
        params.type_k = params.type_v = api.GGML_TYPE_F32
        params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = 1
        self._context = api.llama_init_from_model(self._model.pointer, params)
        assert self._context
        self._adapters: dict[Path, object] = {}

    def __call__(self, ids: Sequence[int], adapter: Path | None = None) -> np.ndarray:
        """Logits after every token, shape (tokens, vocabulary)."""
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        if adapter is None:
            api.llama_set_adapters_lora(self._context, None, 0, None)
        else:
            if adapter not in self._adapters:
                self._adapters[adapter] = self._model.load_adapter(adapter)
            one = (api.llama_adapter_lora_p_ctypes * 1)(self._adapters[adapter])
            api.llama_set_adapters_lora(self._context, one, 1, (ctypes.c_float * 1)(1.0))
        batch = api.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
            batch.seq_id[i][0], batch.logits[i] = 0, 1
        assert api.llama_decode(self._context, batch) == 0
        shape = (len(ids), self._model.vocab_size)
        found = np.ctypeslib.as_array(api.llama_get_logits(self._context), shape=shape).copy()
        api.llama_batch_free(batch)
        return found

    def close(self) -> None:
        """Free everything."""
        api.llama_free(self._context)
        self._model.close()
