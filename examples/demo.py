"""The main job, end to end, by the same commands a person would type.

Run by `make demo`. Keeps its office in `.demo/office` (or `INTERNS_HOME`), so a second run reuses
what is there and says so. Needs no terminal and no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from interns.bases import starter

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("INTERNS_HOME") or ROOT / ".demo" / "office")
BIN = Path(sys.executable).parent
BASE = "starter.sha256"
MISSION = "Help small shops answer every customer within a day, honestly and kindly."
ROLE = "Sort customer messages into queues."
TASKS = (
    ("triage", "approve", "My parcel was due on Monday and the tracking has not moved since."),
    (
        "facts",
        "edit",
        "Hello, this is Nadia Okafor. Order 48213: the walnut desk lamp should go to Leeds, "
        "please deliver it on 14 March.",
    ),
    ("guide", "reject", "What happens to an approval when the daemon is killed?"),
    (None, "respond", "Compose a haiku for the birthday of my grandmother's parrot."),
)
QUESTION = "Where does a version of an intern lie on disk?"


class Webhook(BaseHTTPRequestHandler):
    """A shop system on loopback that notes what it is sent."""

    received: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Accept one delivery."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.received.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Stay quiet: the demo prints what arrived."""


def main() -> int:
    """Tell the story, step by step; return the exit status."""
    started = time.monotonic()
    forget_another_base()
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["INTERNS_HOME"] = str(HOME)
    (HOME / BASE).write_text(starter().sha256)
    again = (HOME / "demo.json").exists()
    if again:
        say(f"The office in {shown(HOME)} is there already: this run reuses it.")
        say(f"For a fresh one: rm -r {shown(HOME)}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/queue"
    timings: dict[str, float] = {}
    try:
        with Step("a. The base that all interns share", timings):
            interns("config", "set", "charter.mission", MISSION)
            interns("config", "set", "effects.webhooks", f"http://127.0.0.1:{server.server_port}/")
            interns("bases", "verify")
        with Step("b. Onboard `triage` from a CSV of customer messages", timings):
            onboard()
        with Step("c. Three more interns, shipped with recipes and exam results", timings):
            for name in ("interviewer", "facts", "guide"):
                interns("import", name)
            interns("list")
            interns("ask", "@interviewer", "What is a closure in JavaScript?")
        with Step("d. Documents: index a folder, answer with citations", timings):
            interns("knowledge", "add", "docs", "--name", "handbook")
            interns("ask", "@guide", QUESTION, "--knowledge", "handbook")
        with Step("e. Four tasks: routed, or asked about", timings):
            tasks = submit_tasks(url)
        with Step("f. The approval queue", timings):
            decide(tasks)
            effects(tasks)
        with Step("g. Where things stand", timings):
            close(tasks, timings, started)
    finally:
        interns("stop")
        server.shutdown()
    return 0


class Step:
    """Prints a heading and measures what is under it."""

    def __init__(self, title: str, timings: dict[str, float]) -> None:
        self.title, self.timings = title, timings

    def __enter__(self) -> None:
        print(f"\n\n== {self.title}\n", flush=True)
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.timings[self.title] = time.monotonic() - self.started


def onboard() -> None:
    """Train, verify, examine and register `triage`, with a live loss line."""
    interns(
        "onboard",
        "triage",
        "--data",
        "examples/triage/messages.csv",
        "--input",
        "text",
        "--output",
        "queue",
        "--exam",
        "examples/triage/exam.csv",
        "--role",
        ROLE,
        "--watch",
    )


def forget_another_base() -> None:
    """Remove the demo's own office when it was made with another starter; never one that was named."""
    made_with = HOME / BASE
    known = made_with.read_text() if made_with.exists() else ""
    if "INTERNS_HOME" in os.environ or not HOME.exists() or known == starter().sha256:
        return
    say(f"The office in {shown(HOME)} was made with another starter: it is made anew.")
    ended = {**os.environ, "INTERNS_HOME": str(HOME)}
    subprocess.run([BIN / "interns", "stop"], env=ended, check=False, capture_output=True)
    shutil.rmtree(HOME)


def submit_tasks(url: str) -> list[dict[str, Any]]:
    """Submit the four tasks, or show them again when an earlier run did."""
    notes = HOME / "demo.json"
    if notes.exists():
        say("The four tasks were submitted and decided by an earlier run; nothing is sent twice.")
        ids = json.loads(notes.read_text())
    else:
        ids = []
        for wanted, _, text in TASKS:
            deliver = f"webhook:{url}" if wanted == "triage" else "outbox"
            command = ["task", "submit", text, "--deliver", deliver, "--wait", "--json"]
            if wanted == "guide":
                command += ["--knowledge", "handbook"]
            ids.append(answer(*command, allowed=(0, 5))["id"])
        notes.write_text(json.dumps(ids))
    tasks = [answer("task", "show", str(number)) for number in ids]
    for task, (wanted, _, _) in zip(tasks, TASKS, strict=True):
        if task["route"]["intern"] != wanted:
            fail(f"task {task['id']} went to {task['route']['intern']}, expected {wanted}")
    interns("task", "list")
    return tasks


def decide(tasks: list[dict[str, Any]]) -> None:
    """Approve one, edit one, reject one and answer the question."""
    interns("approvals", "list")
    for task, (_, verdict, _) in zip(tasks, TASKS, strict=True):
        number = task["approval_id"]
        if answer("approvals", "show", str(number))["status"] != "pending":
            continue
        interns("approvals", "show", str(number))
        match verdict:
            case "approve":
                interns("approvals", "approve", str(number))
            case "edit":
                edited = HOME / "edited.json"
                edited.write_text(corrected(task["draft"]), encoding="utf-8")
                interns("approvals", "edit", str(number), "--file", str(edited))
            case "reject":
                interns("approvals", "reject", str(number), "-m", "Name the file, not the idea.")
            case _:
                interns("approvals", "respond", str(number), "-m", "Nobody here writes poems yet.")
    interns("corrections")


def corrected(draft: str) -> str:
    """Return the draft of `facts` with the city spelled as the shop writes it."""
    fields = json.loads(draft)
    fields["city"] = "Leeds, UK"
    return json.dumps(fields, ensure_ascii=False)


def effects(tasks: list[dict[str, Any]]) -> None:
    """Show that each approved effect happened once and the rejected one did not."""
    done = []
    for task in tasks:
        interns("task", "show", str(task["id"]))
        done.append(answer("task", "wait", str(task["id"])))
    statuses = [task["status"] for task in done]
    if statuses != ["done", "done", "rejected", "answered"]:
        fail(f"the tasks ended as {statuses}")
    files = sorted((HOME / "outbox").iterdir())
    say(f"Webhook deliveries in this run: {len(Webhook.received)}")
    for delivery in Webhook.received:
        print(f"   {json.dumps(delivery, ensure_ascii=False)[:150]}")
    say(f"Files in the outbox: {len(files)}")
    for file in files:
        print(f"   {shown(file)}: {file.read_text(encoding='utf-8').strip()[:150]}")
    if len(files) != 1:
        fail("the outbox should hold exactly one file")


def close(tasks: list[dict[str, Any]], timings: dict[str, float], started: float) -> None:
    """Print the closing table."""
    rows = [("intern", "version", "skill", "exam", "base+prompt")]
    for intern in answer("list"):
        exam = intern["exam"]
        score, baseline = f"{exam['metric']} {exam['score']:.2f}", f"{exam['baseline']:.2f}"
        rows.append((intern["name"], str(intern["version"]), intern["skill"], score, baseline))
    table(rows)
    decided = [answer("task", "show", str(task["id"])) for task in tasks]
    table(
        [("task", "status", "intern", "text")]
        + [(str(t["id"]), t["status"], t["intern"] or "nobody", t["text"][:44]) for t in decided]
    )
    table([("step", "seconds")] + [(name, f"{spent:.0f}") for name, spent in timings.items()])
    print(f"\nAll in {time.monotonic() - started:.0f} s. Everything lies in {shown(HOME)}.")
    print("\nTry next:")
    print(f"   INTERNS_HOME={shown(HOME)} make run            the terminal interface")
    print(f"   INTERNS_HOME={shown(HOME)} .venv/bin/interns chat interviewer")
    print(f"   INTERNS_HOME={shown(HOME)} .venv/bin/interns approvals list")


def interns(*words: str) -> None:
    """Show a command and let it print; stop the demo when it fails."""
    print(f"\n$ interns {' '.join(quoted(word) for word in words)}", flush=True)
    done = subprocess.run(
        [BIN / "interns", *words], cwd=ROOT, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        fail(f"`interns {words[0]}` ended with exit status {done.returncode}")


def answer(*words: str, allowed: tuple[int, ...] = (0,)) -> Any:
    """Run a command with ``--json`` quietly and return what it says."""
    command = [BIN / "interns", *words] + ([] if "--json" in words else ["--json"])
    done = subprocess.run(
        command, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if done.returncode not in allowed:
        fail(f"`interns {' '.join(words)}` ended with exit status {done.returncode}")
    return json.loads(done.stdout)


def table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("   " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def say(text: str) -> None:
    """Print one line of narration."""
    print(f"-- {text}", flush=True)


def fail(text: str) -> None:
    """Stop the demo: something is not as promised."""
    sys.exit(f"The demo stopped: {text}.")


def quoted(word: str) -> str:
    """Return a word as one would type it."""
    return f'"{word}"' if " " in word else word


def shown(path: Path) -> str:
    """Return a path relative to the project where possible."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
