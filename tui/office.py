"""Commands' way to the office: connect, and say so when a daemon has to be started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from interns.errors import Unavailable
from interns.paths import Paths
from tui.output import say

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient


@contextmanager
def open_office(*, start: bool = True) -> Iterator[OfficeClient]:
    """Yield a client of the office that `INTERNS_HOME` names, starting its daemon when needed.

    Raises:
        Unavailable: No daemon runs and `start` is False, or it does not answer.
    """
    from orchestrator.client import OfficeClient

    paths = Paths.default()
    try:
        client = OfficeClient.connect(paths, start=False)
    except Unavailable:
        if not start:
            raise
        say("Starting the office ...")
        client = OfficeClient.connect(paths)
    with client:
        yield client
