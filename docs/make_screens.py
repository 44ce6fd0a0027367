"""Make the pictures of the screens from the real app, with real interns and a real training run.

    python docs/make_screens.py [HOME]

Without HOME it uses a data directory of its own under ``.demo/``. Takes about seven minutes; writes
``docs/screens/*.svg``.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from interns.errors import InternsError
from interns.paths import Paths
from orchestrator.client import OfficeClient
from tui.app import InternsApp
from tui.widgets.form import Form
from tui.widgets.lines import LinesView
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screens"
SIZE = (100, 30)
FORM = {
    "name": "triage",
    "data": "examples/triage/messages.csv",
    "input": "text",
    "output": "queue",
    "exam": "examples/triage/exam.csv",
    "role": "Sort customer messages into queues.",
}
SHIPPED = ("facts", "guide", "interviewer")
TASKS = (
    ("My parcel was due on Monday and the tracking has not moved since.", "file:queue.txt", None),
    (
        "Hello, this is Nadia Okafor. Order 48213: the walnut desk lamp should go to Leeds, "
        "please deliver it on 14 March.",
        "file:order-48213.json",
        "facts",
    ),
    ("Compose a haiku for the birthday of my grandmother's parrot.", None, None),
)
SAID = (
    "My parcel was due on Monday and the tracking has not moved since.",
    "@guide Where does a version of an intern lie on disk?",
    "@interviewer What is a closure in JavaScript?",
)


async def main(home: Path) -> None:
    """Take one picture of each screen."""
    paths = Paths(home)
    client = await asyncio.to_thread(OfficeClient.connect, paths)
    await asyncio.to_thread(prepare, client)
    app = InternsApp(first="onboard", knowledge="handbook", paths=paths)
    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: app.link.state == "ready", "the office")
        await picture_onboard(app, pilot, client)
        await picture_team(app, pilot)
        await asyncio.to_thread(submit, client)
        await picture_approvals(app, pilot)
        await picture_chat(app, pilot)
    client.shutdown()
    client.close()


def prepare(client: OfficeClient) -> None:
    """Register the shipped interns and index the guides."""
    for name in SHIPPED:
        try:
            client.import_folder(name)
        except InternsError as error:
            print(f"{name}: {error.message}")
    client.knowledge_add(ROOT / "docs" / "guides", "handbook")


def submit(client: OfficeClient) -> None:
    """Fill the queue, unless it is full."""
    if client.approvals():
        return
    known = {one["name"] for one in client.interns()}
    for text, effect, intern in TASKS:
        if intern is None or intern in known:
            client.wait_task(client.submit(text, effect=effect, intern=intern)["id"], 120)


async def picture_onboard(app: InternsApp, pilot: Pilot[int], client: OfficeClient) -> None:
    """Start a training run with the form and take the picture half-way."""
    form = app.screen.query_one(Form)
    await until(lambda: app.screen.query_one(RowList).texts, "the list of runs")
    form.fill(FORM)
    form.focus_first()
    await pilot.press("ctrl+s")
    run: dict[str, Any] = {}

    def there() -> bool:
        run.update(next(iter(client.runs()), {}))
        ended = run.get("status") in {"passed", "failed"}
        return ended or (run.get("step") == "tune" and run.get("progress", 0) > 0.6)

    await until(there, "half a training", 900)
    await asyncio.sleep(1)
    await save(app, "onboard")
    await until(lambda: client.run(run["id"])["status"] in {"passed", "failed"}, "the end", 900)
    await asyncio.sleep(1)
    await save(app, "onboarded")


async def picture_team(app: InternsApp, pilot: Pilot[int]) -> None:
    """Show who works here."""
    await pilot.press("escape", "3")
    await until(lambda: "versions" in app.screen.query_one(LinesView).text, "a profile")
    app.screen.query_one(RowList).choose("triage")
    await asyncio.sleep(2)
    await save(app, "team")


async def picture_approvals(app: InternsApp, pilot: Pilot[int]) -> None:
    """Show the queue."""
    await pilot.press("escape", "2")
    await until(lambda: len(app.screen.query_one(RowList).texts) > 1, "the queue")
    await pilot.press("j")
    await asyncio.sleep(2)
    await save(app, "approvals")


async def picture_chat(app: InternsApp, pilot: Pilot[int]) -> None:
    """Talk with three interns."""
    await pilot.press("escape", "1")
    for text in SAID:
        app.chat.query_one(Prompt).text = text
        app.chat.query_one(Prompt).focus()
        await pilot.press("enter")
        await asyncio.sleep(1)
        await until(lambda: "is writing" not in app.chat.status_text(), "an answer", 120)
    await asyncio.sleep(1)
    await save(app, "chat")


async def save(app: InternsApp, name: str) -> None:
    """Write one picture: no fonts from the network, every space kept."""
    FOLDER.mkdir(exist_ok=True)
    svg = app.export_screenshot(title="interns")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("<text ", '<text xml:space="preserve" ')
    svg = svg.replace(str(ROOT), ".").replace(str(Path.home()), "~")
    svg = "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"
    (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(f"docs/screens/{name}.svg")


async def until(check: Callable[[], Any], what: str, wait_s: float = 120.0) -> None:
    """Wait until `check` returns something true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while not check():
        if loop.time() > deadline:
            sys.exit(f"Waited {wait_s:.0f} s in vain for {what}.")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".demo" / "screens"))
