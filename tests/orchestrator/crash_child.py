"""A process of its own for crash tests: ``python -m tests.orchestrator.crash_child HOME MODE …``.

The crash sits in an effect handler given to the office, never in the product.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from interns.errors import Conflict
from interns.paths import Paths
from orchestrator import ledger
from orchestrator.approval import Verdict
from orchestrator.desk import Desk
from orchestrator.effects import Delivery, Json, Trace
from orchestrator.effects.outbox import OutboxHandler
from orchestrator.effects.webhook import WebhookHandler
from orchestrator.service import Office
from tests.orchestrator.waiting import settled, until


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DiesBeforeWriting(OutboxHandler):
    def perform(self, delivery: Delivery) -> Json:
        die()
        return {}


class DiesAfterWriting(OutboxHandler):
    def perform(self, delivery: Delivery) -> Json:
        super().perform(delivery)
        die()
        return {}


class DiesAfterPosting(WebhookHandler):
    def perform(self, delivery: Delivery) -> Json:
        super().perform(delivery)
        die()
        return {}


class Logbook:
    """An effect that cannot be looked up afterwards: one line per execution, never undone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, target: str) -> str:
        return target

    def trace(self, delivery: Delivery) -> Trace:
        return "unknown"

    def perform(self, delivery: Delivery) -> Json:
        line = f"{delivery.key} {os.getpid()}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)
        return {}


def main(home: str, mode: str, *numbers: str) -> None:
    paths = Paths(Path(home))
    ids = [int(number) for number in numbers]
    match mode:
        case "decide-and-die":
            office = Office(paths)
            ledger.decide(office.engine, ids[0], Verdict("approve", by="child"))
            die()
        case "die-before-writing":
            approve_and_wait(Office(paths, effects={"file": DiesBeforeWriting(paths.outbox)}), ids)
        case "die-after-writing":
            approve_and_wait(Office(paths, effects={"file": DiesAfterWriting(paths.outbox)}), ids)
        case "die-after-posting":
            desk = Desk(None, paths)  # type: ignore[arg-type]  # for its settings only
            allowed = lambda: desk.settings.effects.webhooks  # noqa: E731
            approve_and_wait(Office(paths, effects={"webhook": DiesAfterPosting(allowed)}), ids)
        case "race":
            race(paths, ids)


def approve_and_wait(office: Office, ids: list[int]) -> None:
    office.start(warm=False)
    office.decide(ids[0], Verdict("approve", by="child"))
    time.sleep(30)


def race(paths: Paths, ids: list[int]) -> None:
    """Decide everything as soon as the starting gun file is there; report what was won."""
    office = Office(paths, effects={"file": Logbook(paths.home / "effects.log")})
    office.start(warm=False)
    (paths.home / f"ready-{os.getpid()}").touch()
    until((paths.home / "go").exists)
    won, lost = [], []
    for number in ids:
        try:
            office.decide(number, Verdict("approve", by=str(os.getpid())))
            won.append(number)
        except Conflict as error:
            lost.append(error.message)
    for number in ids:
        settled(office, office.approval(number)["task_id"], but="waiting")
    sys.stdout.write(json.dumps({"won": won, "lost": lost}) + "\n")
    office.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
