"""Training children: started, followed, taken up again after a restart, and registered.

A child (``python -m training run FOLDER``) belongs to nobody: it goes on when the daemon or the
terminal ends, writes its own files, and never touches the database. The office reads those files
and registers the finished version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from interns.base_model import BaseModelRef
from interns.bases import base_named, is_verified
from interns.database import session, write_session
from interns.errors import Conflict, GateNotMet, InternsError, InvalidInput, NotFound
from interns.manifest import sha256_of
from interns.registry import check_name
from orchestrator import child
from orchestrator.clock import now_text
from orchestrator.desk import Desk
from orchestrator.errors import from_body, to_body
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.run import ENDED
from orchestrator.tables import RunRow
from orchestrator.views import run_json

Json = dict[str, Any]
Jsons = list[Json]

TICK_S = 0.3  # while something trains
IDLE_S = 5.0
REQUIRED = ("name", "data", "input", "output")
FILES = ("data", "exam", "schema")
OPTIONAL = ("skill", "role", "exam", "schema", "recipe", "attribution", "max_tokens")

log = logging.getLogger(__name__)


class Onboarding:
    """Every training run of an office; one trains at a time, the others queue.

    Args:
        desk: What the office works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._thread = threading.Thread(target=self._follow, name="onboarding", daemon=True)

    def start(self) -> None:
        """Take up the children of an earlier daemon and follow all of them."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the children go on."""
        self._stopping.set()
        self._begun.set()

    def plan(self, request: Mapping[str, Any]) -> Json:
        """Return the ingest report, splits and estimates of an onboarding, without training.

        Raises:
            InvalidInput: The request or the data cannot be used.
        """
        full = self._full(request)
        with tempfile.TemporaryDirectory(prefix="interns-plan-") as name:
            folder = Path(name)
            child.write_json(folder / "request.json", full)
            return child.plan(folder)

    def begin(self, request: Mapping[str, Any]) -> Json:
        """Queue an onboarding and return its run; the same request finds the same run.

        A run that was stopped, failed or killed goes on where it was; one that passed is returned
        as it is.

        Raises:
            InvalidInput: The request cannot be used.
        """
        full = self._full(request)
        run_id = _run_id(full)
        folder = self._desk.paths.runs / run_id
        with write_session(self._desk.engine) as db:
            row = db.get(RunRow, run_id)
            if row is None:
                row = RunRow(
                    id=run_id,
                    kind="onboard",
                    name=full["name"],
                    folder=str(folder),
                    charter_version=self._desk.charter.version,
                    created_at=now_text(),
                )
            elif row.status == "passed" or row.status not in ENDED:
                return run_json(row)
            row.request, row.status, row.finished_at = full, "queued", None
            row.error = row.fix = row.code = ""
            row.exit_code = 0
            db.add(row)
            _changed(db, row)
            folder.mkdir(parents=True, exist_ok=True)
            child.write_json(folder / "request.json", full)  # before anyone sees the row
        self._begun.set()
        return run_json(row)

    def teach(self, name: str, base_name: str) -> Json:
        """Queue the training of an intern's next version on another base and return its run.

        The request, recipe and data are those of the version in office.

        Args:
            name: The intern.
            base_name: A verified base.

        Raises:
            NotFound: There is no such intern, base or stored request, or its data are gone.
            GateNotMet: The base was not verified.
            Conflict: It is on that base already, or the data changed since.
        """
        intern = self._desk.registry.get(name)
        base = base_named(base_name, self._desk.paths)
        if intern.version.adapter.base_sha256 == base.sha256:
            raise Conflict(
                f"{name!r} v{intern.version.number} is on the base {base.name} already.",
                "Name another base; see `interns bases list`.",
            )
        request = self._stored(name, intern.version.number)
        return self.begin({**request, "base": base.name})

    def list(self) -> Jsons:
        """Return all onboarding runs, newest first."""
        chosen = select(RunRow).where(RunRow.kind == "onboard")
        with session(self._desk.engine) as db:
            rows = db.exec(chosen.order_by(col(RunRow.created_at).desc())).all()
        return [run_json(row) for row in rows]

    def get(self, run_id: str) -> Json:
        """Return one run by its id or the start of it.

        Raises:
            NotFound: None or several match.
        """
        return run_json(self._row(run_id))

    def stop_run(self, run_id: str) -> Json:
        """Stop a run; begun again it goes on from its last finished step.

        Raises:
            Conflict: It has ended before.
        """
        row = self._row(run_id)
        if row.status in ENDED:
            raise Conflict(f"Run {row.id} has {row.status} already.", "See `interns runs list`.")
        self._end(row.id, "stopped", InternsError("Stopped.", _again(row)))
        child.end(row.pid, row.pid_started)
        return self.get(row.id)

    def reader(self, run_id: str, after: int = 0) -> Callable[[], tuple[Jsons, bool]]:
        """Return a function that gives a run's new events, and whether the run has ended.

        Args:
            run_id: The run.
            after: Number of the last event already seen.
        """
        run_id = self._row(run_id).id
        seen = offset = 0

        def read() -> tuple[Jsons, bool]:
            nonlocal seen, offset
            row = self._row(run_id)
            fresh, offset = child.read_lines(Path(row.folder) / "events.jsonl", offset)
            numbered = [{"id": seen + i, **event} for i, event in enumerate(fresh, start=1)]
            seen += len(fresh)
            return [e for e in numbered if e["id"] > after], row.status in ENDED and not fresh

        return read

    def _follow(self) -> None:
        busy = True
        while not self._stopping.is_set():
            self._begun.wait(TICK_S if busy else IDLE_S)
            self._begun.clear()
            try:
                busy = self._tick()
            except Exception:
                log.exception("following the training runs failed")

    def _tick(self) -> bool:
        """Look after every open run; whether there is one."""
        for run_id, process in list(self._children.items()):
            if process.poll() is not None and self._row(run_id).status in ENDED:
                del self._children[run_id]
        with session(self._desk.engine) as db:
            chosen = select(RunRow).where(
                RunRow.kind == "onboard", col(RunRow.status).in_(("queued", "running"))
            )
            rows = db.exec(chosen.order_by(col(RunRow.created_at))).all()
        running = [row for row in rows if row.status == "running"]
        for row in running:
            self._look(row)
        if not running and rows:
            self._spawn(rows[0])
        return bool(rows or self._children)

    def _spawn(self, row: RunRow) -> None:
        folder = Path(row.folder)
        process = child.spawn(folder)
        self._children[row.id] = process
        with write_session(self._desk.engine) as db:
            kept = db.get_one(RunRow, row.id)
            if kept.status != "queued":  # stopped in the meantime
                child.kill(process.pid)
                return
            kept.status, kept.started_at = "running", kept.started_at or now_text()
            kept.pid, kept.pid_started = process.pid, child.started(process.pid)
            _changed(db, kept)

    def _look(self, row: RunRow) -> None:
        """Take over what a child wrote; when it is gone, end its run."""
        process = self._children.get(row.id)
        alive = process.poll() is None if process else child.alive(row.pid, row.pid_started)
        self._take_over(row)
        if alive:
            return
        self._take_over(row)
        self._children.pop(row.id, None)
        outcome = child.read_json(Path(row.folder) / "outcome.json")
        if outcome is None:
            self._end(
                row.id,
                "failed",
                InternsError(
                    f"The training process of {row.name!r} ended without a word; it was killed, "
                    "perhaps for memory.",
                    _again(row),
                ),
            )
        elif outcome.get("status") == "passed":
            self._register(row)
        else:
            self._end(row.id, "failed", from_body(outcome), outcome)

    def _take_over(self, row: RunRow) -> None:
        fresh, offset = child.read_lines(Path(row.folder) / "events.jsonl", row.events_read)
        if not fresh:
            return
        with write_session(self._desk.engine) as db:
            kept = db.get_one(RunRow, row.id)
            kept.events_read = row.events_read = offset
            for event in fresh:
                kept.step = str(event.get("step", kept.step))
                data = event.get("data") or {}
                kept.progress = float(data.get("progress", kept.progress))
                kept.loss = data.get("loss", kept.loss)
                kept.eta_s = data.get("eta_s", kept.eta_s)
            _changed(db, kept)

    def _register(self, row: RunRow) -> None:
        try:
            base = base_named(row.request.get("base") or "starter", self._desk.paths)
            version = self._desk.registry.register(
                Path(row.folder) / "version", source="onboard", base=base
            )
        except InternsError as error:
            self._end(row.id, "failed", error)
            return
        self._desk.roster_changed()
        with write_session(self._desk.engine) as db:
            kept = db.get_one(RunRow, row.id)
            if kept.status in ENDED:
                return
            kept.status, kept.finished_at, kept.progress = "passed", now_text(), 1.0
            kept.version = version.number
            _changed(db, kept)
            note(
                db,
                EventKind.INTERN_CHANGED,
                run_id=row.id,
                data={"name": row.name, "what": f"version {version.number} registered"},
            )

    def _end(
        self, run_id: str, status: str, error: InternsError, outcome: Json | None = None
    ) -> None:
        body = to_body(error) | {k: v for k, v in (outcome or {}).items() if v}
        with write_session(self._desk.engine) as db:
            kept = db.get_one(RunRow, run_id)
            if kept.status in ENDED:
                return
            kept.status, kept.finished_at = status, now_text()
            kept.error, kept.fix, kept.code = body["error"], body["fix"], body["code"]
            kept.exit_code = int(body["exit_code"])
            _changed(db, kept)

    def _row(self, run_id: str) -> RunRow:
        with session(self._desk.engine) as db:
            chosen = select(RunRow).where(
                RunRow.kind == "onboard", col(RunRow.id).startswith(run_id, autoescape=True)
            )
            rows = db.exec(chosen).all()
        exact = [row for row in rows if row.id == run_id]
        if len(exact or rows) != 1:
            found = f"{len(rows)} runs begin with" if rows else "There is no run"
            raise NotFound(f"{found} {run_id!r}.", "See `interns runs list`.")
        return (exact or list(rows))[0]

    def _stored(self, name: str, number: int) -> Json:
        """Return what a version was asked for, checking that its files are still what they were."""
        chosen = select(RunRow).where(RunRow.kind == "onboard", RunRow.name == name)
        with session(self._desk.engine) as db:
            rows = [row for row in db.exec(chosen).all() if row.version == number]
        if not rows:
            raise NotFound(
                f"{name!r} v{number} was not trained in this office: its data are not known here.",
                f"Use the new base and run `interns onboard {name} --data FILE …` with its data.",
            )
        request = dict(rows[-1].request)
        for key, known in (request.pop("files", None) or {}).items():
            path = Path(request[key])
            again = f"or run `interns onboard {name} --data FILE …` with other data."
            if not path.is_file():
                raise NotFound(
                    f"The {key} file that {name!r} v{number} learned from is gone: {path}.",
                    f"Put it back there, {again}",
                )
            if sha256_of(path) != known:
                raise Conflict(
                    f"The {key} file changed since {name!r} v{number} learned from it: {path}.",
                    f"Put the old one back, {again}",
                )
        return {key: request.get(key) for key in (*REQUIRED, *OPTIONAL)}

    def _full(self, request: Mapping[str, Any]) -> Json:
        """Return the request with everything a child needs to know."""
        missing = [key for key in REQUIRED if not request.get(key)]
        if missing:
            raise InvalidInput(
                f"The onboarding lacks {', '.join(missing)}.",
                "Give a name, a data file, and its input and output columns.",
            )
        check_name(request["name"])
        files = {}
        for key in FILES:
            if request.get(key):
                if not Path(request[key]).is_file():
                    raise InvalidInput(f"There is no file {request[key]}.", "Check the path.")
                files[key] = sha256_of(Path(request[key]))
        return {
            **{key: request.get(key) for key in (*REQUIRED, *OPTIONAL)},
            "files": files,
            "recipe": request.get("recipe") or {},
            "role": request.get("role") or "",
            "attribution": request.get("attribution") or "",
            "mission": self._desk.settings.charter.mission,
            "home": str(self._desk.paths.home),
            "engine": self._desk.settings.engine.computing,
            "base": self._base(request.get("base")).name,
        }

    def _base(self, name: str | None) -> BaseModelRef:
        """The base to train on: the one in use, or a named and verified one."""
        base = base_named(name, self._desk.paths) if name else self._desk.base
        if not is_verified(base):
            raise GateNotMet(
                f"The base {base.name!r} was not verified, so that nothing can be trained on it.",
                f"Run `interns bases verify {base.name}` first.",
            )
        return base


def _run_id(full: Json) -> str:
    """The same name, data and recipe are the same run."""
    office = {"home", "mission", "engine", "files"}
    parts = {key: value for key, value in full.items() if key not in office}
    parts |= full["files"]
    canonical = json.dumps(parts, sort_keys=True, default=str)
    return f"{full['name']}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


def _again(row: RunRow) -> str:
    return f"Run the same `interns onboard {row.name}` again; it goes on from its last step."


def _changed(db: Any, row: RunRow) -> None:
    data = {"name": row.name, "status": row.status, "step": row.step, "progress": row.progress}
    note(db, EventKind.RUN_CHANGED, run_id=row.id, data={**data, "loss": row.loss})
