"""The few low-level llama.cpp calls the engine is built on, as two small objects.

`Model` is read-only after loading and may be used from any thread. `Context` belongs to one thread.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from interns.errors import BrokenFile, Incompatible, InternsError, InvalidInput, Unavailable
from interns.runtime.llama_cpp.batch import Batch, ContextSize, Row
from interns.runtime.llama_cpp.native import api, forget_messages, last_messages, llama_cpp
from interns.runtime.llama_cpp.token_tree import TokenTree

_MAX_THREADS = 4
_SMALL = 100_000_000
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it


def default_threads(parameters: int) -> tuple[int, int]:
    """Threads that write and threads that read prompts, for a base of so many parameters.

    Physical cores that this process may use, at most 4. Threads that write one token of a small
    base wait for each other longer than they compute, so there one thread writes.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False) or 1
    cores = max(1, min(physical, allowed or 1, _MAX_THREADS))
    return (1 if parameters < _SMALL else cores), cores


def backend_description() -> str:
    """How llama.cpp was built: devices and instruction sets."""
    return str(api.llama_print_system_info().decode("utf-8", "replace")).strip()


def may_repack() -> bool:
    """Whether llama.cpp may store weights in another order for this processor.

    With AMX its tile code crashes when a compiler drops the tile configuration as a dead store (GCC
    12 does; llama.cpp #20824, #26954). Weights that are not repacked never reach that code.
    """
    return "AMX_INT8 = 1" not in backend_description()


def gpu_layer_count(wanted: int | str) -> int:
    """Layers for the GPU: as many as wanted, -1 (all) for ``auto``; 0 where llama.cpp uses none.

    Raises:
        InvalidInput: It is neither ``auto`` nor a number of layers.
    """
    try:
        layers = -1 if wanted == "auto" else int(wanted)
    except ValueError as error:
        raise InvalidInput(f"gpu_layers is {wanted!r}.", "Use auto or a number.") from error
    if layers < 0 and wanted != "auto":  # llama.cpp takes any number below 0 for all layers
        raise InvalidInput(
            f"gpu_layers is {layers}, but there are no fewer than 0 layers.",
            "Use auto for all layers, 0 for none, or how many go to the GPU.",
        )
    return layers if api.llama_supports_gpu_offload() else 0


class Model:
    """A base in memory.

    Args:
        path: A GGUF file that was checked before.
        gpu_layers: Layers on the GPU; -1 for all, 0 for none.
        words_only: Load the vocabulary and no weights; such a model computes nothing.

    Raises:
        BrokenFile: llama.cpp refuses the file.
    """

    def __init__(self, path: Path, gpu_layers: int = 0, *, words_only: bool = False) -> None:
        self._in_use = threading.Condition()
        self._users = 0
        self.gpu_layers = gpu_layers
        self._pieces: dict[tuple[int, bool], bytes] = {}
        params = api.llama_model_default_params()
        params.vocab_only = words_only
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = may_repack()
        forget_messages()
        self.pointer = api.llama_model_load_from_file(os.fsencode(path), params)
        if not self.pointer:
            why = "; ".join(last_messages()[-2:]) or "no reason given"
            raise BrokenFile(f"llama.cpp cannot load {path.name}: {why}.", "Fetch the base anew.")
        self.vocab = api.llama_model_get_vocab(self.pointer)
        self.vocab_size = int(api.llama_vocab_n_tokens(self.vocab))
        self.trained_context = int(api.llama_model_n_ctx_train(self.pointer))
        self.parameters = int(api.llama_model_n_params(self.pointer))
        self.eos = int(api.llama_vocab_eos(self.vocab))
        self.bos = int(api.llama_vocab_bos(self.vocab))
        every = range(self.vocab_size)
        self.stop_tokens = frozenset(i for i in every if api.llama_vocab_is_eog(self.vocab, i))
        unwritten = api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_UNUSED
        self.hidden_tokens = np.array(
            [
                i
                for i in every
                if api.llama_vocab_get_attr(self.vocab, i) & unwritten and i not in self.stop_tokens
            ],
            dtype=np.int64,
        )

    @contextmanager
    def words(self) -> Iterator[Any]:
        """The vocabulary, which is not freed as long as the block lasts; others may use it too.

        Raises:
            Unavailable: The model was closed.
        """
        with self._in_use:
            if not self.pointer:
                raise Unavailable("The engine is closed.", "Start it again.")
            self._users += 1
        try:
            yield self.vocab
        finally:
            with self._in_use:
                self._users -= 1
                self._in_use.notify_all()

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text, nothing added; control tokens are parsed if `special`."""
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        while True:
            ids = (ctypes.c_int32 * size)()
            with self.words() as vocab:
                count = api.llama_tokenize(vocab, raw, len(raw), ids, size, False, special)
            if count >= 0:
                return list(ids[:count])
            size = -count

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token; empty for control tokens unless `special`."""
        known = self._pieces.get((token, special))
        if known is None:
            known = self._pieces[token, special] = self._read_piece(token, special)
        return known

    @cached_property
    def fragments(self) -> dict[int, bytes]:
        """Tokens that hold a part of a character: their bytes alone are no UTF-8."""
        pieces = ((token, self.piece(token)) for token in range(self.vocab_size))
        return {token: piece for token, piece in pieces if not _is_text(piece)}

    @cached_property
    def tree(self) -> TokenTree:
        """Which tokens begin others."""
        return TokenTree([self.piece(token) for token in range(self.vocab_size)])

    def _read_piece(self, token: int, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            with self.words() as vocab:
                count = api.llama_token_to_piece(vocab, token, buffer, size, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of token ids, control tokens included."""
        return b"".join(self.piece(i, special=True) for i in ids).decode("utf-8", "replace")

    def name(self, token: int) -> str:
        """How a control token is written; empty for a token that the base has not (-1)."""
        return self.detokenize([token]) if token >= 0 else ""

    def load_adapter(self, path: Path) -> Any:
        """Load a checked adapter; not while another thread decodes on this model.

        Raises:
            Incompatible: llama.cpp refuses it.
        """
        forget_messages()
        pointer = api.llama_adapter_lora_init(self.pointer, os.fsencode(path))
        if not pointer:
            why = "; ".join(last_messages()[-2:]) or "no reason given"
            raise Incompatible(f"llama.cpp cannot load {path.name}: {why}.", "Export it anew.")
        return pointer

    def free_adapter(self, pointer: Any) -> None:
        """Free an adapter that no context uses any more."""
        api.llama_adapter_lora_free(pointer)
        if _trim is not None:
            _trim(0)  # the C library would keep its megabytes for later

    def close(self) -> None:
        """Free the model and its adapters as soon as nobody uses its words; no new user is let in.

        All contexts must be closed.
        """
        with self._in_use:
            pointer, self.pointer = self.pointer, None
            self._in_use.wait_for(lambda: not self._users)
        if pointer:
            api.llama_model_free(pointer)


class Context:
    """A KV cache and the calls that fill it. Only one thread may use it.

    Args:
        model: What is computed.
        size: How much it holds.
        vocabulary: Logits of how many tokens are given out; None for all of the model's.

    Attributes:
        facts: What saved keys and values depend on, besides base, adapter and tokens: another
            runtime may not read them, another processor would have rounded them differently.

    Raises:
        InternsError: There is not enough memory.
    """

    def __init__(self, model: Model, size: ContextSize, vocabulary: int | None = None) -> None:
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = size.cells, size.batch, size.batch
        params.n_outputs_max = size.outputs
        params.n_seq_max, params.kv_unified = size.sequences, True
        params.n_threads, params.n_threads_batch = size.threads, size.batch_threads
        params.no_perf = True
        if size.exact:  # flash attention sums up in 16 bits where the cache has 16
            params.type_k = params.type_v = api.GGML_TYPE_F32
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.size = size
        self.facts: dict[str, str | int] = {
            "runtime": f"llama-cpp-python {llama_cpp.__version__}",
            "state": api.LLAMA_STATE_SEQ_VERSION,
            "keys": params.type_k,
            "values": params.type_v,
            "flash_attention": params.flash_attn_type,
            "gpu_layers": model.gpu_layers,
            "threads": f"{size.threads} {size.batch_threads}",
            "backend": backend_description(),
        }
        self._width, self._vocabulary = model.vocab_size, vocabulary
        self.pointer = api.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise InternsError(
                f"llama.cpp cannot make a context of {size.cells} tokens.",
                "Lower engine.context_tokens or close other programs.",
            )
        self._memory = api.llama_get_memory(self.pointer)
        self._batch = Batch(size)
        self._outputs = 0
        self._view_place = (0, 0)
        self._view = np.zeros((0, 0), dtype=np.float32)
        self._adapter: tuple[Any, float] = (None, 0.0)

    def use_adapter(self, pointer: Any | None, scale: float = 1.0) -> bool:
        """Put one adapter, or none, on the base for the next decodes; True if it changed."""
        wanted = (pointer, scale if pointer else 0.0)
        if wanted == self._adapter:
            return False
        if pointer is None:
            code = api.llama_set_adapters_lora(self.pointer, None, 0, None)
        else:
            adapters = (api.llama_adapter_lora_p_ctypes * 1)(pointer)
            code = api.llama_set_adapters_lora(
                self.pointer, adapters, 1, (ctypes.c_float * 1)(scale)
            )
        if code != 0:
            raise Incompatible("llama.cpp refuses the adapter.", "Export it anew.")
        self._adapter = wanted
        return True

    def decode(self, rows: Sequence[Row]) -> bool:
        """Compute a batch; False if the KV cache has no room for it.

        Raises:
            InvalidInput: The batch is larger than the context allows.
            InternsError: llama.cpp failed.
        """
        if not 0 < len(rows) <= self.size.batch:
            raise InvalidInput(
                f"A batch of {len(rows)} tokens does not fit.", f"Give 1 to {self.size.batch}."
            )
        self._outputs = self._batch.fill(rows)
        code = int(api.llama_decode(self.pointer, self._batch.struct))
        if code == 1:
            return False
        if code != 0:
            why = "; ".join(last_messages()[-2:])
            raise InternsError(f"llama.cpp failed with code {code}. {why}".strip(), "Try again.")
        return True

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of the wanted tokens of the last decode, (wanted, vocabulary).

        A view on llama.cpp's memory, valid until the next decode.
        """
        pointer = api.llama_get_logits(self.pointer)
        place = (ctypes.addressof(pointer.contents), self._outputs)
        if place != self._view_place:
            every = np.ctypeslib.as_array(pointer, shape=(self._outputs, self._width))
            self._view_place, self._view = place, every[:, : self._vocabulary]
        return self._view

    def copy_sequence(self, source: int, target: int, length: int) -> None:
        """Let `target` share the first `length` tokens of `source`."""
        api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def drop_sequence(self, sequence: int, start: int = 0) -> None:
        """Forget the tokens of a sequence from position `start` on."""
        api.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def save_sequence(self, sequence: int) -> bytes:
        """Keys and values of a sequence, as `restore_sequence` takes them; empty if it fails."""
        state = bytes(api.llama_state_seq_get_size(self.pointer, sequence))
        written = api.llama_state_seq_get_data(self.pointer, _bytes_in(state), len(state), sequence)
        return state if written == len(state) else b""

    def restore_sequence(self, sequence: int, state: bytes) -> bool:
        """Put saved keys and values into an empty sequence; False if there is no room."""
        data = _bytes_in(state)
        return bool(api.llama_state_seq_set_data(self.pointer, data, len(state), sequence))

    def clear(self) -> None:
        """Forget everything and start again at the first cell."""
        api.llama_memory_clear(self._memory, False)

    def close(self) -> None:
        """Free the cache."""
        if self.pointer:
            api.llama_free(self.pointer)
            self.pointer = None


def _bytes_in(state: bytes) -> Any:
    """Where they lie: states are megabytes, and a new one is written before anyone else has it."""
    return ctypes.cast(ctypes.c_char_p(state), ctypes.POINTER(ctypes.c_uint8))


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
