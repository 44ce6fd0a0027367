"""How threads that compute together wait for each other, dozens of times per layer."""

from __future__ import annotations

import os

# OpenMP reads these once, when its library is loaded. Threads that sleep at once take nearly twice the
# time for a token with an adapter, and for a step of training; threads that spin for long make both many
# times slower as soon as another process wants the same cores. So they spin for some ten microseconds
# (docs/decisions/0013).
SETTINGS = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}


def wait_awake() -> None:
    """Say so in the environment, unless the person has set one of them."""
    if not any(os.environ.get(name) for name in SETTINGS):
        os.environ.update(SETTINGS)
