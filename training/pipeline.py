"""How an intern is made: the whole story on one page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from interns.errors import InternsError
from training.artifacts import RunFolder
from training.steps import Workshop

_log = logging.getLogger(__name__)


def train_intern(
    folder: Path, *, listener: Callable[[Mapping[str, Any]], None] | None = None
) -> Path:
    """Make a version folder from ``folder/request.json``; call it again to resume.

    Args:
        folder: The run. Events, files and the outcome are written there.
        listener: Called with every event.

    Returns:
        The finished, sealed version folder.

    Raises:
        InternsError: What stopped the run; the same is in ``outcome.json``. `GateNotMet` when the
            exam or the verification did not pass: then there is nothing to register.
        Conflict: Another process works on this run; its outcome is left alone.
    """
    run = RunFolder(folder, listener=listener)
    with run.owned():
        if run.finished:
            run.emit("seal", "done", "This run is finished already.")
            return run.version
        shop = Workshop(run)
        try:
            _work(shop)
        except InternsError as error:
            shop.fail(error)
            raise
        except Exception as error:
            _log.exception("The run failed unexpectedly.")
            broken = InternsError(
                f"Training failed unexpectedly: {error!r}.",
                f"The details are in {run.folder / 'log.txt'}.",
            )
            shop.fail(broken)
            raise broken from error
    return run.version


def _work(shop: Workshop) -> None:
    shop.read_and_split()
    shop.tune()
    shop.export()
    with shop.engine() as engine:
        shop.calibrate(engine)
        shop.verify(engine)
        shop.examine(engine)
    shop.check_gates()
    shop.seal()
