"""What one token costs in arithmetic."""

from __future__ import annotations

from training.pretraining.recipe import Shape


def flops_per_token(shape: Shape) -> float:
    """Floating-point operations of one token forward and backward.

    6 per weight that is multiplied (Kaplan et al. 2020, arXiv:2001.08361; the tied embedding is
    multiplied once, as the head) and 6 · layers · width · context for causal attention, half of
    PaLM's 12 (Chowdhery et al. 2022, appendix B). An upper bound: attention ends at the borders of
    documents, which this does not count.
    """
    return 6.0 * shape.parameters + 6.0 * shape.layers * shape.hidden * shape.context
