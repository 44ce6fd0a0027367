"""An onboarding, followed line by line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from interns.errors import GateNotMet
from interns.gate import engine_words, gate_words
from orchestrator.errors import from_body
from tui.model.visible import visible
from tui.model.words import duration, loss_line
from tui.output import emit, report, say, show_table

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Json = dict[str, Any]
EVERY_S = 5.0  # between progress lines where a line cannot be drawn over


class Narrator:
    """Tells a run on stderr: a line a step, and the loss as it falls.

    Args:
        live: Whether training steps are told at all.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._over = live and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._last = 0.0
        self._open = 0

    def tell(self, event: Mapping[str, Any]) -> None:
        """Say one event."""
        if event.get("kind") == "progress":
            self._progress(event)
            return
        self.close()
        text = str(event.get("text") or "").strip()
        if text and event.get("kind") != "failed":
            say(f"{event.get('step', ''):<7} {text}")

    def close(self) -> None:
        """End a line that is being drawn over."""
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = 0

    def _progress(self, event: Mapping[str, Any]) -> None:
        line = loss_line(event.get("data") or {}) or str(event.get("text") or "")
        now = time.monotonic()
        if not self._live or not line:
            return
        line = visible(f"{event.get('step', ''):<7} {line}")
        if self._over:
            print(f"\r{line.ljust(self._open)}", end="", file=sys.stderr, flush=True)
            self._open = len(line)
        elif now - self._last >= EVERY_S:
            self._last = now
            print(line, file=sys.stderr, flush=True)


def follow(
    office: OfficeClient,
    run_id: str,
    *,
    live: bool,
    write: Callable[[Any], None] | None = None,
) -> list[Json]:
    """Follow a run to its end and return its events.

    Args:
        office: The client.
        run_id: The run.
        live: Tell training steps on stderr, not only what was finished.
        write: Called with every event instead of telling it.

    Raises:
        KeyboardInterrupt: The person left; the run goes on, and was told how to come back.
    """
    narrator = Narrator(live=live)
    events = []
    try:
        for event in office.run_events(run_id):
            events.append(event)
            if write is not None:
                write(event)
            else:
                narrator.tell(event)
    except KeyboardInterrupt:
        narrator.close()
        say(f"The run goes on. Come back: interns runs watch {run_id}")
        raise
    narrator.close()
    return events


def tell_outcome(run: Mapping[str, Any], record: Json, *, as_json: bool) -> int:
    """Show how an onboarding ended and return the exit status.

    Args:
        run: The run after its end.
        record: See `tui.model.records.onboard_record`.
        as_json: One object on stdout instead of a table.
    """
    if as_json:
        emit(record)
    else:
        _show(record)
    if run["status"] == "passed":
        return 0
    if run["status"] == "stopped":
        say(f"Run {run['id']} was stopped. The same command goes on from there.")
        return 1
    error = from_body({"error": run.get("error"), "fix": run.get("fix"), "code": run.get("code")})
    report(error, as_json=as_json)
    return int(run.get("exit_code") or 0) or error.exit_code or GateNotMet.exit_code


def _show(record: Json) -> None:
    exam, checked = record["exam"], record["verification"]
    rows = [("name", record["name"]), ("status", record["status"])]
    if record["version"] is not None:
        rows.append(("version", record["version"]))
    if exam["score"] is not None:
        rows.append(("exam", f"{exam['metric']} {exam['score']:.3f} on {exam['n']} rows"))
    if exam["baseline"] is not None:
        rows.append(("base and prompt", f"{exam['baseline']:.3f}"))
    if checked["top1_agreement"] is not None:
        rows.append(("torch and llama.cpp agree", f"{checked['top1_agreement']:.4f} in answers"))
    if checked["top1_decided"] is not None:
        shares = f"{checked['top1_decided']:.4f}, everywhere {checked['top1_everywhere']:.4f}"
        rows.append(("where torch is clear", shares))
    if checked["stop_rate"] is not None:
        rows.append(("answers that end by themselves", f"{checked['stop_rate']:.1%}"))
    if checked["mean_kl"] is not None:
        rows.append(("mean difference", f"{checked['mean_kl']:.1e} nats"))
    if where := engine_words(checked):
        rows.append(("verified on", where))
    if gate := gate_words(checked):
        rows.append(("gate", gate))
    rows.append(("time", duration(record["seconds"])))
    show_table(("WHAT", "RESULT"), rows)
