"""What is computed in one decode: its size, its rows, and the memory they are written to."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interns.runtime.llama_cpp.native import api


@dataclass(frozen=True)
class ContextSize:
    """How much a context holds.

    Attributes:
        cells: Tokens in the KV cache, shared by all sequences.
        sequences: Most sequences at once.
        batch: Most tokens in one decode.
        outputs: Most tokens of one decode whose logits are wanted.
        threads: CPU threads that write answers, one token per step.
        batch_threads: CPU threads that read prompts.
        exact: Keys, values and attention in 32 bits instead of 16.
    """

    cells: int
    sequences: int
    batch: int
    outputs: int
    threads: int
    batch_threads: int
    exact: bool = False


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and many are made
class Row:
    """One token of a batch; not changed once made.

    Attributes:
        token: Its id.
        position: Its place in the sequence, from 0.
        sequences: All sequences it belongs to.
        output: Whether its logits are wanted.
    """

    token: int
    position: int
    sequences: tuple[int, ...]
    output: bool


class Batch:
    """Memory of one batch, filled anew for each decode."""

    def __init__(self, size: ContextSize) -> None:
        self._tokens = np.zeros(size.batch, dtype=np.int32)
        self._positions = np.zeros(size.batch, dtype=np.int32)
        self._counts = np.zeros(size.batch, dtype=np.int32)
        self._members = np.zeros((size.batch, size.sequences), dtype=np.int32)
        self._wanted = np.zeros(size.batch, dtype=np.int8)
        row_bytes = self._members.strides[0]
        first = self._members.ctypes.data
        self._pointers = np.array(
            [first + i * row_bytes for i in range(size.batch)], dtype=np.uintp
        )
        pointer_type = ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
        self.struct = api.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._positions.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._counts.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=ctypes.cast(ctypes.c_void_p(self._pointers.ctypes.data), pointer_type),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, rows: Sequence[Row]) -> int:
        """Write the rows; returns how many outputs are wanted."""
        tokens, positions, counts = self._tokens, self._positions, self._counts
        members, wanted, outputs = self._members, self._wanted, 0
        for i, row in enumerate(rows):
            tokens[i], positions[i], wanted[i] = row.token, row.position, row.output
            counts[i] = len(row.sequences)
            if counts[i] == 1:
                members[i, 0] = row.sequences[0]
            else:
                members[i, : counts[i]] = row.sequences
            outputs += row.output
        self.struct.n_tokens = len(rows)
        return outputs
