"""The door to the office: a typed client of the daemon's HTTP API.

All that commands and screens import to act. Imports no engine, no graph and no database; answers
are the plain dictionaries of the API.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from interns.errors import InternsError, Unavailable
from interns.paths import Paths
from orchestrator.client_bases import BaseCalls
from orchestrator.errors import from_body
from orchestrator.launch import Address, find_daemon, loopback, start_daemon

Json = dict[str, Any]

TIMEOUT = httpx.Timeout(300.0, connect=5.0)
ENDLESS = httpx.Timeout(None, connect=5.0)
POLL_S = 0.1


class OfficeClient(BaseCalls):
    """One connection to one office; use it as a context manager or call `close`.

    Every method raises the `interns.errors` class the daemon answered with, or `Unavailable` when
    the daemon went away. Safe to use from several threads.

    Args:
        address: A daemon that answers.
        paths: Its data directory, where the token lies.
    """

    def __init__(self, address: Address, paths: Paths) -> None:
        self.address = address
        self.paths = paths
        try:
            token = paths.token.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Unavailable(
                f"The daemon's token {paths.token} cannot be read: {error}.",
                "Run as the user who started the daemon, or `interns stop` and try again.",
            ) from error
        self._http = loopback(
            base_url=address.url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT
        )

    @classmethod
    def connect(cls, paths: Paths, *, start: bool = True) -> OfficeClient:
        """Return a client of the office at `paths`, starting its daemon when needed.

        Raises:
            Unavailable: There is no daemon and `start` is False, or it did not answer in time.
            InternsError: What the daemon said when it refused to start.
        """
        address = find_daemon(paths)
        if address is None:
            if not start:
                raise Unavailable(
                    f"No daemon runs for {paths.home}.", "Start it with `interns serve`."
                )
            address = start_daemon(paths)
        return cls(address, paths)

    def close(self) -> None:
        """Close the connection; the daemon goes on."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The daemon

    def status(self) -> Json:
        """Return pid, url, home, base, what is loaded, and counts of tasks and approvals."""
        return self._get("/api/status")

    def shutdown(self, timeout_s: float = 10.0) -> None:
        """Ask the daemon to end and wait until it has.

        Raises:
            Unavailable: It still answered after `timeout_s` seconds.
        """
        self._post("/api/shutdown")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if find_daemon(self.paths) is None and not self.paths.address.exists():
                return
            time.sleep(POLL_S)
        raise Unavailable(
            f"The daemon (pid {self.address.pid}) has not ended after {timeout_s:.0f} s.",
            f"End it with `kill {self.address.pid}`.",
        )

    def doctor(self) -> list[Json]:
        """Return findings of the office's side: check, status, found, fix."""
        return self._list("/api/doctor")

    def events(self, after: int | None = 0) -> Iterator[Json]:
        """Follow what happens: id, at, kind, task_id, run_id, data; never ends by itself.

        Args:
            after: Number of the last event already seen; None starts with the present.
        """
        return self._stream("GET", "/api/events", params=_given(after=after))

    # Interns

    def interns(self, *, include_retired: bool = False) -> list[Json]:
        """Return all interns by name."""
        return self._list("/api/interns", params={"include_retired": include_retired})

    def intern(self, name: str) -> Json:
        """Return one intern.

        Raises:
            NotFound: Nobody has that name.
        """
        return self._get(f"/api/interns/{name}")

    def versions(self, name: str) -> list[Json]:
        """Return an intern's versions, oldest first."""
        return self._list(f"/api/interns/{name}/versions")

    def promote(self, name: str, number: int) -> Json:
        """Put version `number` in office, past probation; return the intern."""
        return self._post(f"/api/interns/{name}/promote", {"number": number})

    def rollback(self, name: str) -> Json:
        """Put the version before the present one back; return the intern."""
        return self._post(f"/api/interns/{name}/rollback")

    def retire(self, name: str) -> Json:
        """Take an intern out of office; return it."""
        return self._post(f"/api/interns/{name}/retire")

    def import_folder(self, source: Path | str) -> Json:
        """Register a finished version folder, or a shipped intern by name; return the intern."""
        text = str(source)
        folder = Path(text).expanduser()
        return self._post(
            "/api/interns/import", {"source": str(folder.absolute()) if folder.is_dir() else text}
        )

    def route(self, text: str) -> Json:
        """Return who would take `text`: intern or None, score, threshold, candidates, why."""
        return self._post("/api/route", {"text": text})

    # Onboarding

    def plan_onboarding(self, request: Mapping[str, Any]) -> Json:
        """Read the data and return the ingest report, splits and estimates; trains nothing."""
        return self._post("/api/runs/plan", dict(request), timeout=ENDLESS)

    def onboard(self, request: Mapping[str, Any]) -> Json:
        """Start an onboarding, or go on with the same one where it stopped; return its run.

        Args:
            request: name, data (path), input and output (columns); optional skill, role, exam,
                schema, recipe, attribution.
        """
        return self._post("/api/runs", dict(request))

    def runs(self) -> list[Json]:
        """Return onboarding runs, newest first."""
        return self._list("/api/runs")

    def run(self, run_id: str) -> Json:
        """Return one run; the start of its id is enough when only one matches."""
        return self._get(f"/api/runs/{run_id}")

    def run_events(self, run_id: str, after: int = 0) -> Iterator[Json]:
        """Yield a run's events (id, at, step, kind, text, data) until it ends.

        Args:
            run_id: The run.
            after: Number of the last event already seen.
        """
        return self._stream("GET", f"/api/runs/{run_id}/events", params={"after": after})

    def stop_run(self, run_id: str) -> Json:
        """Stop a run; the same onboarding started again goes on from there."""
        return self._post(f"/api/runs/{run_id}/stop")

    # Asking

    def ask(
        self, text: str, *, intern: str | None = None, knowledge: str | None = None
    ) -> Iterator[Json]:
        """Stream one answer: route, token…, citation…, done or error; see `chat`."""
        return self.chat([{"role": "user", "content": text}], intern=intern, knowledge=knowledge)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        intern: str | None = None,
        knowledge: str | None = None,
    ) -> Iterator[Json]:
        """Stream the answer to the last of `messages`.

        Close the iterator to cancel. The last event is ``done`` (text, intern, version, tokens,
        tokens_per_s, first_token_s, charter_version, probabilities for labels) or ``error``.

        Args:
            messages: Turns with role ``user`` or ``assistant``; the last is the user's.
            intern: Who answers; None lets the office choose.
            knowledge: Collection of documents to quote from.
        """
        body = {"messages": [dict(m) for m in messages], "intern": intern, "knowledge": knowledge}
        return self._stream("POST", "/api/chat", body=body)

    # Tasks

    def submit(
        self,
        text: str,
        *,
        intern: str | None = None,
        knowledge: str | None = None,
        effect: str | Mapping[str, str] | None = None,
    ) -> Json:
        """Hand in a task and return it at once.

        Args:
            text: What to do.
            intern: Who does it; None lets the office choose.
            knowledge: Collection of documents to quote from.
            effect: ``file:NAME``, ``webhook:URL``, ``outbox`` (a file named after the task), or
                the same as ``{"kind", "target"}``; None hands the text back only.
        """
        asked = dict(effect) if isinstance(effect, Mapping) else effect
        body = {"text": text, "intern": intern, "knowledge": knowledge, "effect": asked}
        return self._post("/api/tasks", body)

    def tasks(self, status: str | None = None) -> list[Json]:
        """Return tasks, newest first."""
        return self._list("/api/tasks", params=_given(status=status))

    def task(self, task_id: int) -> Json:
        """Return one task with its steps and effects."""
        return self._get(f"/api/tasks/{task_id}")

    def wait_task(self, task_id: int, timeout_s: float = 300.0) -> Json:
        """Wait until a task is finished or waits for a human, and return it.

        Raises:
            Unavailable: It still runs after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            task = self.task(task_id)
            if task["status"] not in {"queued", "running"}:
                return task
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"Task {task_id} still runs after {timeout_s:.0f} s.",
                    f"Look again with `interns task show {task_id}`.",
                )
            time.sleep(POLL_S)

    # Approvals

    def approvals(self, status: str | None = "pending") -> list[Json]:
        """Return approvals, oldest first; None for all states."""
        return self._list("/api/approvals", params=_given(status=status))

    def approval(self, approval_id: int) -> Json:
        """Return one approval with its whole card."""
        return self._get(f"/api/approvals/{approval_id}")

    def approve(self, approval_id: int, digest: str | None = None) -> Json:
        """Let exactly the shown action happen; return the decided approval.

        Args:
            approval_id: The approval.
            digest: As shown; when given, anything that changed since makes it a Conflict.

        Raises:
            Conflict: It was decided before; the message says by whom.
        """
        return self._decide(approval_id, "approve", digest)

    def edit(self, approval_id: int, text: str, digest: str | None = None) -> Json:
        """Approve the action with `text` in place of the draft, kept as a correction."""
        return self._decide(approval_id, "edit", digest, text=text)

    def reject(self, approval_id: int, reason: str, digest: str | None = None) -> Json:
        """Refuse the action; the reason is kept as a correction."""
        return self._decide(approval_id, "reject", digest, reason=reason)

    def respond(self, approval_id: int, text: str, intern: str | None = None) -> Json:
        """Answer a question, or give the task to `intern`."""
        return self._decide(approval_id, "respond", None, text=text, intern=intern)

    def corrections(self, name: str | None = None) -> list[Json]:
        """Return what humans changed or refused, newest first: the next version's material."""
        return self._list("/api/corrections", params=_given(name=name))

    # Knowledge

    def knowledge_add(self, path: Path | str, name: str) -> Json:
        """Index a file or folder into collection `name`; return files added and skipped."""
        full = str(Path(path).expanduser().absolute())
        return self._post("/api/knowledge", {"path": full, "name": name}, timeout=ENDLESS)

    def knowledge_search(self, query: str, name: str | None = None, limit: int = 5) -> list[Json]:
        """Return the best passages with their exact place."""
        return self._list(
            "/api/knowledge/search", params=_given(query=query, name=name, limit=limit)
        )

    def knowledge_list(self) -> list[Json]:
        """Return the indexed documents by collection."""
        return self._list("/api/knowledge")

    def _decide(self, approval_id: int, verb: str, digest: str | None, **more: Any) -> Json:
        body = {"digest": digest, "by": getpass.getuser(), **more}
        return self._post(f"/api/approvals/{approval_id}/{verb}", body)

    def _get(self, path: str) -> Json:
        answer: Json = self._call("GET", path)
        return answer

    def _list(self, path: str, params: Mapping[str, Any] | None = None) -> list[Json]:
        answer: list[Json] = self._call("GET", path, params=params)
        return answer

    def _post(self, path: str, body: Json | None = None, **options: Any) -> Json:
        answer: Json = self._call("POST", path, json=body or {}, **options)
        return answer

    def _call(self, method: str, path: str, **options: Any) -> Any:
        with self._reachable():
            answer = self._http.request(method, path, **options)
        if answer.is_error:
            raise _error(answer)
        return answer.json()

    def _stream(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Json]:
        with (
            self._reachable(),
            self._http.stream(method, path, json=body, params=params, timeout=ENDLESS) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise Unavailable(
                f"The daemon (pid {self.address.pid}) does not answer: {error}.",
                "Run the command again; it starts a daemon when none is there.",
            ) from error


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _error(answer: httpx.Response) -> InternsError:
    try:
        return from_body(answer.json())
    except ValueError:
        return InternsError(
            f"The daemon answered with HTTP status {answer.status_code}.", "See daemon.log."
        )
