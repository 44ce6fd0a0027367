"""A loaded thing can be changed for another, whatever the loading is at."""

from __future__ import annotations

import threading

import pytest

from interns.errors import Unavailable
from orchestrator.lazy import Lazy


def test_replacing_waits_for_a_load_in_progress() -> None:
    go = threading.Event()

    def load() -> str:
        go.wait(30)
        return "first"

    lazy = Lazy("thing", load)
    lazy.warm()
    with pytest.raises(Unavailable, match="still loading"):
        lazy.replace("second", timeout_s=0.05)
    threading.Timer(0.05, go.set).start()
    assert lazy.replace("second", timeout_s=30) == "first"
    assert lazy.get() == "second"


def test_nothing_in_its_place_means_that_it_is_loaded_again() -> None:
    loads: list[str] = []

    def load() -> str:
        loads.append("loaded")
        return f"thing {len(loads)}"

    lazy = Lazy("thing", load)
    assert lazy.replace(None) is None
    assert lazy.get() == "thing 1"
    assert lazy.replace(None) == "thing 1"
    assert lazy.peek() is None
    assert lazy.get() == "thing 2"
