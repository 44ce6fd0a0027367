"""Whether a roster file computes what the base computes with one adapter at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from interns.adapter import Adapter
from interns.errors import GateNotMet
from interns.gguf.roster_file import RosterFile
from interns.runtime.llama_cpp.batch import ContextSize, Row
from interns.runtime.llama_cpp.library import Context, Model
from interns.runtime.llama_cpp.logprobs import Logits, log_sum_exp

# Weights in floats leave only the order of additions, measured at 1e-7. An 8-bit base also rounds
# activations, and one that falls on the other side moves all that follows.
MOST_KL, MOST_KL_QUANTIZED = 1e-5, 1e-3
# The likeliest token is the base's, or one that the base finds nearly as likely, in nats.
MOST_GAP, MOST_GAP_QUANTIZED = 0.05, 1.0
_LONGEST = 48
# From so many rows on llama.cpp's attention on a CPU rounds otherwise (decision 0011), so that one adapter
# at a time is up to 6e-3 nats away from itself. Both sides of the comparison are on one side of it.
_LARGE = 64

Expected = Callable[[Sequence[int], Adapter | None, int], Logits]


def mean_kl(expected: Logits, found: Logits) -> float:
    """Mean Kullback-Leibler divergence in nats; both (tokens, vocabulary)."""
    p = expected.astype(np.float64) - log_sum_exp(expected)[:, None]
    q = found.astype(np.float64) - log_sum_exp(found)[:, None]
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def check_agreement(
    packed: Model,
    roster: RosterFile,
    adapters: Sequence[Adapter],
    prompts: Sequence[Sequence[int]],
    expected: Expected,
    *,
    size: ContextSize,
    quantized: bool,
) -> float:
    """Compare every intern, and the bare base, on some prompts; several share each batch.

    Args:
        packed: The roster file, loaded.
        roster: What it holds.
        adapters: Those that it was made from.
        prompts: Token ids that begin as the roster file wants; what is longer than 48 is cut.
        expected: Logits after every token of a prompt with one adapter on the base; the number says
            how often the prompt is read at once, the last token in a batch of its own.
        size: Of the engine's context; a smaller one is made here.
        quantized: Whether the base holds weights that are no floats.

    Returns:
        The largest mean divergence of an intern, in nats.

    Raises:
        GateNotMet: An intern answers otherwise; says who and by how much.
        InternsError: There is not enough memory, or `expected` failed.
    """
    most = MOST_KL_QUANTIZED if quantized else MOST_KL
    widest = MOST_GAP_QUANTIZED if quantized else MOST_GAP
    who: list[Adapter | None] = [None, *adapters]
    kls: list[list[float]] = [[] for _ in who]
    gaps: list[float] = [0.0 for _ in who]
    for prompt in (list(prompt)[:_LONGEST] for prompt in prompts):
        for member, copies, found in _mixed(packed, roster, who, prompt, size):
            wanted = expected(prompt, who[member], copies)
            kls[member].append(mean_kl(wanted, found))
            chosen = np.take_along_axis(wanted, found.argmax(-1)[:, None], -1)[:, 0]
            gaps[member] = max(gaps[member], float((wanted.max(-1) - chosen).max()))
    for member, adapter in enumerate(who):
        kl, gap = float(np.mean(kls[member])), gaps[member]
        if not (kl <= most and gap <= widest):
            name = f"adapter {adapter.sha256[:12]}" if adapter else "the bare base"
            raise GateNotMet(
                f"In the roster file {name} answers otherwise: mean divergence {kl:.2g} nats "
                f"(at most {most:.0e}), a best token {gap:.2g} nats behind (at most {widest}).",
                "Interns take turns instead. Report it with the base and llama.cpp's version.",
            )
    return max(float(np.mean(each)) for each in kls)


def _mixed(
    packed: Model,
    roster: RosterFile,
    who: Sequence[Adapter | None],
    prompt: Sequence[int],
    size: ContextSize,
) -> Iterator[tuple[int, int, Logits]]:
    """Logits of one prompt for every member, (tokens, vocabulary), as many as fit in a batch.

    The last token comes in a batch of its own, as when answers are written. With each member comes
    how often one adapter has to read the prompt at once to be rounded alike.
    """
    together = max(1, min(size.outputs, size.batch) // len(prompt))
    for start in range(0, len(who), together):
        members = range(start, min(len(who), start + together))
        small = ContextSize(
            cells=-(-len(members) * len(prompt) // 256) * 256,
            sequences=len(members),
            batch=size.batch,
            outputs=size.outputs,
            # One thread: who is answered meanwhile keeps the cores, and OpenMP would count helpers of
            # this thread for ever and stop spinning (`native`), since they are more than the cores.
            threads=1,
            batch_threads=1,
        )
        context = Context(packed, small, roster.vocabulary)
        try:
            rows = [
                Row(_token(roster, who[member], prompt, at), at, (member - start,), output=True)
                for member in members
                for at in range(len(prompt))
            ]
            last = [row for row in rows if row.position == len(prompt) - 1]
            context.decode([row for row in rows if row.position < len(prompt) - 1])
            read = context.logits().reshape(len(members), len(prompt) - 1, -1).copy()
            context.decode(last)
            written = context.logits().copy()
        finally:
            context.close()
        copies = _copies(len(members), len(prompt) - 1)
        for member in members:
            parts = read[member - start], written[member - start : member - start + 1]
            yield member, copies, np.concatenate(parts)


def _copies(members: int, length: int) -> int:
    """How often a prompt is read at once to be on the same side of `_LARGE` as the mixed batch."""
    return -(-_LARGE // length) if members * length >= _LARGE else 1


def _token(roster: RosterFile, adapter: Adapter | None, prompt: Sequence[int], at: int) -> int:
    if at or adapter is None:
        return prompt[at]
    return roster.tokens[adapter.sha256, adapter.scale]
