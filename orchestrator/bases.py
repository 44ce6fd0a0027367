"""The office's bases: list, pull, verify, use. Children do the work; the office owns the result."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import select

from interns.base_source import (
    BaseSource,
    check_base_name,
    memory_of,
    parse_source,
    recommended,
)
from interns.bases import VERIFICATION, base_facts, base_named, is_verified, list_bases
from interns.database import session
from interns.errors import Conflict, GateNotMet, InvalidInput
from interns.settings import set_value, source_of
from orchestrator import child
from orchestrator.desk import Desk
from orchestrator.errors import to_body
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.tables import RunRow

Json = dict[str, Any]

DEFAULT_TYPE = "Q8_0"
# The hub's settings are those of the shell that asks, not those the daemon was started with.
PASSED_ON = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "HTTPS_PROXY", "HTTP_PROXY")


class Bases:
    """Every base of an office, and the one in use.

    Args:
        desk: What the office works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def list(self) -> list[Json]:
        """Return the bases that are here, then the recommended ones that are not."""
        paths = self._desk.paths
        here = [
            {**memory_of(int(one.get("parameters") or 0), one["bytes"]), **one, "here": True}
            for one in list_bases(self._desk.settings, paths)
        ]
        sources = {one.get("source") for one in here}
        others = [one for one in recommended() if one.repository not in sources]
        absent: Json = {"here": False, "in_use": False, "verified": False, "sha256": "", "path": ""}
        return here + [{**one.to_dict(), **absent} for one in others]

    def pull(
        self,
        asked: str,
        *,
        name: str,
        file_type: str,
        environment: Mapping[str, str],
        cancel: threading.Event,
    ) -> Iterator[Json]:
        """Fetch, convert and check a base; yields progress, then ``done`` or ``error``.

        Args:
            asked: What the person typed; see `interns.base_source.parse_source`.
            name: What to call it; empty makes a name of where it comes from.
            file_type: ``Q8_0``, ``Q4_K_M``, ``F16``, ``F32`` or empty for the default.
            environment: The caller's settings of the hub; see `PASSED_ON`.
            cancel: Stops it when set; what was downloaded is kept.
        """
        yield from _told(lambda: self._pull(asked, name, file_type, environment, cancel))

    def verify(self, name: str, cancel: threading.Event) -> Iterator[Json]:
        """Compare a base in llama.cpp with its copy in torch; yields ``done`` or ``error``."""
        yield from _told(lambda: self._verify(name or self._desk.base.name, cancel))

    def use(self, name: str) -> Json:
        """Serve and train with another base from now on; on any failure the present one stays.

        Raises:
            NotFound: No such base is here.
            GateNotMet: It was not verified.
            Conflict: An intern is being trained, or the settings name the base elsewhere.
            BrokenFile: Its file is damaged.
        """
        paths = self._desk.paths
        base = base_named(name, paths)
        if base.name == self._desk.base.name:
            return self._one(name)
        if not is_verified(base):
            raise GateNotMet(
                f"The base {name!r} was not verified, or its verification did not pass.",
                f"Run `interns bases verify {name}` first. The base in use stays "
                f"{self._desk.base.name}.",
            )
        where = source_of(paths, "base.name")
        if where not in {"default", str(paths.config)}:
            raise Conflict(
                f"base.name is set in {where}, which wins over what is stored here.",
                "Change it there, then `interns stop`; the next command starts with that base.",
            )
        self._refuse_while_training()
        self._desk.use_base(base, lambda: set_value(paths, "base.name", json.dumps(name)))
        with session(self._desk.engine) as db:
            note(db, EventKind.INTERN_CHANGED, data={"name": "", "what": f"base {name} in use"})
        return self._one(name)

    def _one(self, name: str) -> Json:
        return next(one for one in self.list() if one["name"] == name)

    def _refuse_while_training(self) -> None:
        with session(self._desk.engine) as db:
            rows = db.exec(select(RunRow).where(RunRow.kind == "onboard")).all()
        active = [row for row in rows if row.status == "running"]
        if active:
            raise Conflict(
                f"Run {active[0].id} is training on {self._desk.base.name}.",
                "Wait for its end or stop it: see `interns runs list`.",
            )

    def _pull(
        self,
        asked: str,
        name: str,
        file_type: str,
        environment: Mapping[str, str],
        cancel: threading.Event,
    ) -> Iterator[Json]:
        source = parse_source(asked)
        file_type = file_type.upper() or DEFAULT_TYPE
        name = check_base_name(name or _name_of(source, asked, file_type))
        with self._alone(name):
            if (self._desk.paths.bases / name / "base.gguf").is_file():
                yield self._there(name, source, file_type)
            else:
                yield from self._make(name, source, file_type, environment, cancel)
            if not is_verified(base_named(name, self._desk.paths)):
                yield from self._check(name, cancel)
        yield {"event": "done", "base": self._one(name)}

    def _there(self, name: str, source: BaseSource, file_type: str) -> Json:
        facts = base_facts(self._desk.paths.bases / name)
        same_type = source.kind == "gguf" or facts.get("file_type") == file_type
        if facts.get("source") != source.place or not same_type:
            raise Conflict(
                f"A base {name!r} from {facts.get('source') or 'elsewhere'} is here already.",
                "Give this one another name with --name.",
            )
        return {"event": "progress", "step": "check", "text": f"{name} is here already."}

    def _make(
        self,
        name: str,
        source: BaseSource,
        file_type: str,
        environment: Mapping[str, str],
        cancel: threading.Event,
    ) -> Iterator[Json]:
        folder = self._desk.paths.bases / ".pulling" / name
        folder.mkdir(parents=True, exist_ok=True)
        request = {
            "name": name,
            "kind": source.kind,
            "place": source.place,
            "revision": source.revision,
            "licence": source.licence,
            "file_type": file_type,
        }
        _keep_or_clear(folder, request)
        child.write_json(folder / "request.json", request)
        given = {key: environment[key] for key in PASSED_ON if key in environment}
        for event in child.stream("pull-base", folder, cancel, given):
            if "step" in event:
                yield {"event": "progress", **event}
        shutil.rmtree(folder / "source", ignore_errors=True)
        folder.replace(self._desk.paths.bases / name)

    def _verify(self, name: str, cancel: threading.Event) -> Iterator[Json]:
        base = base_named(name, self._desk.paths)
        with self._alone(name):
            yield from self._check(name, cancel)
        found = child.read_json(base.gguf.parent / VERIFICATION) or {}
        yield {"event": "done", "base": self._one(name), "verification": found}

    def _check(self, name: str, cancel: threading.Event) -> Iterator[Json]:
        yield {
            "event": "progress",
            "step": "verify",
            "text": "Comparing llama.cpp with torch: token ids of 10,000 texts, probabilities of "
            "12 prompts.",
        }
        base = base_named(name, self._desk.paths)
        folder = self._desk.paths.bases / ".verifying" / name
        folder.mkdir(parents=True, exist_ok=True)
        request = {
            "name": name,
            "home": str(self._desk.paths.home),
            "engine": self._desk.settings.engine.computing,
        }
        child.write_json(folder / "request.json", request)
        found: Json = {}
        for event in child.stream("verify-base", folder, cancel, {}):
            found = event
        shutil.rmtree(folder, ignore_errors=True)
        if base.gguf.parent.is_relative_to(self._desk.paths.bases):
            child.write_json(base.gguf.parent / VERIFICATION, found)
        yield {"event": "progress", "step": "verify", "text": _verdict(found), "data": found}
        if not found.get("passed"):
            raise GateNotMet(
                f"llama.cpp and torch do not agree on {name}: {_verdict(found)}",
                "It stays here but cannot be used; choose another base or file type.",
            )

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._busy:
                raise Conflict(
                    f"The base {name!r} is being pulled or verified already.",
                    "Wait for the end of that, or stop it with Ctrl-C where it runs.",
                )
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(name)


def _told(work: Callable[[], Iterator[Json]]) -> Iterator[Json]:
    """Yield what `work` yields; what goes wrong is the last event."""
    try:
        yield from work()
    except Exception as error:  # noqa: BLE001 - a stream has no other way to tell
        yield {"event": "error", **to_body(error)}


def _name_of(source: BaseSource, asked: str, file_type: str) -> str:
    known = [one.name for one in recommended() if one.repository == source.place]
    plain = known[0] if known else source.default_name()
    if not plain:
        raise InvalidInput(f"{asked!r} gives no name.", "Give one with --name.")
    suffix = "" if file_type == DEFAULT_TYPE or source.kind == "gguf" else f"-{file_type.lower()}"
    return plain + suffix


def _keep_or_clear(folder: Path, request: Json) -> None:
    """Keep what an interrupted pull of the same source left; clear what another one left."""
    before = child.read_json(folder / "request.json") or {}
    same = all(before.get(key) == request[key] for key in ("kind", "place", "revision"))
    for path in folder.iterdir():
        if path.name == "source" and same:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _verdict(found: Mapping[str, Any]) -> str:
    return (
        f"{found['token_ids_equal']} of {found['texts']} texts have equal token ids, the same next "
        f"token at {found['top1_agreement']:.2%} of {found['positions']} places and "
        f"{found['top1_decided']:.2%} of those where torch is clear, mean difference "
        f"{found['mean_kl']:.1e} nats."
    )
