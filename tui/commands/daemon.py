"""`interns serve|status|stop`: the office's own process."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Annotated, Any

import typer

from interns.errors import Conflict, InternsError, Unavailable
from interns.paths import Paths
from tui.commands.options import AsJson
from tui.model.words import duration
from tui.output import emit, say, show_fields

STOP_TIMEOUT_S = 15.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(status)
    app.command()(stop)


def serve(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Loopback port; 0 takes any free one.")
    ] = None,
) -> None:
    """Run the office in the foreground, until interrupted."""
    from orchestrator.launch import find_daemon
    from orchestrator.lock import lock_owner

    paths = Paths.default().create()
    address, owner = find_daemon(paths), lock_owner(paths.lock)
    if address is not None or owner is not None:
        pid = address.pid if address else owner
        raise Conflict(
            f"A daemon already runs for {paths.home}: pid {pid}.",
            "Use it, or end it with `interns stop`.",
        )
    if port is not None:
        os.environ["INTERNS_DAEMON_PORT"] = str(port)
    say(f"The office of {paths.home} opens. Ctrl+C closes it.")
    command = [sys.executable, "-m", "orchestrator.daemon", "--home", str(paths.home)]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter, no shell


def status(as_json: AsJson = False) -> int:
    """Say whether the daemon runs (exit 0) or not (exit 1). Starts nothing."""
    from orchestrator.client import OfficeClient

    paths = Paths.default()
    try:
        with OfficeClient.connect(paths, start=False) as office:
            found: dict[str, Any] = {"running": True, **office.status()}
            found.setdefault("url", office.address.url)
            found.setdefault("pid", office.address.pid)
    except Unavailable:
        found = dict.fromkeys(("pid", "url", "openai_base_url", "base"))
        found = {"running": False, **found, "interns": [], "home": str(paths.home)}
    found.setdefault("token_file", str(paths.token))
    if found["running"]:
        found.setdefault("openai_base_url", f"{found['url']}/v1")
    if as_json:
        emit(found)
    else:
        _show_status(found)
    return 0 if found["running"] else 1


def stop(as_json: AsJson = False) -> int:
    """End the daemon. Training goes on and is picked up again. Exit 1 when none runs."""
    from orchestrator.client import OfficeClient
    from orchestrator.lock import lock_owner

    paths = Paths.default()
    try:
        with OfficeClient.connect(paths, start=False) as office:
            pid = office.address.pid
            office.shutdown()
    except Unavailable:
        owner = lock_owner(paths.lock)
        if not owner:
            raise InternsError(
                f"No daemon runs for {paths.home}.", "Start one with `interns serve`."
            ) from None
        pid = owner
        _terminate(paths, pid)
    if as_json:
        emit({"stopped": True, "pid": pid})
    else:
        say(f"The office is closed (pid {pid}).")
    return 0


def _terminate(paths: Paths, pid: int) -> None:
    from orchestrator.lock import lock_owner

    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if lock_owner(paths.lock) is None:
            return
        time.sleep(0.1)
    raise Unavailable(
        f"The daemon (pid {pid}) has not ended after {STOP_TIMEOUT_S:.0f} s.",
        f"End it with `kill -9 {pid}`; nothing decided is lost.",
    )


def _show_status(found: dict[str, Any]) -> None:
    if not found["running"]:
        say(f"No daemon runs for {found['home']}. It starts when a command needs it.")
        return
    interns = found.get("interns")
    plain = {
        key: value
        for key, value in found.items()
        if key not in {"running", "interns"} and not isinstance(value, list | dict)
    }
    if "uptime_s" in plain:
        plain["up for"] = duration(plain.pop("uptime_s"))
    fields = [("running", "yes"), *plain.items()]
    if isinstance(interns, list):
        names = [one["name"] if isinstance(one, dict) else str(one) for one in interns]
        fields.append(("interns", ", ".join(names) or "none yet"))
    elif interns is not None:
        fields.append(("interns", interns))
    show_fields(fields)
