"""Drive the real app without a terminal: press keys, wait for what is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from interns.paths import Paths
from tests.tui.running import WAIT_S, until
from tui.app import InternsApp
from tui.model.guard import ON_SCREEN_S, QUIET_S
from tui.widgets.bars import Bar
from tui.widgets.lines import LinesView
from tui.widgets.rows import RowList

SIZE = (80, 24)


class Driver:
    """An app that runs, and what one does with it."""

    def __init__(self, app: InternsApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Type a text."""
        await self.pilot.press(*("space" if c == " " else c for c in text))

    async def go(self, digit: str) -> None:
        """Leave the field and show another screen."""
        await self.press("escape", digit)

    async def read(self) -> None:
        """Wait as long as a person needs at least before deciding."""
        await asyncio.sleep(max(ON_SCREEN_S, QUIET_S) + 0.1)

    def rows(self) -> list[str]:
        """The rows of the list on screen."""
        return self.app.screen.query_one(RowList).texts

    def detail(self) -> str:
        """The detail on screen."""
        return self.app.screen.query_one(LinesView).text

    def line(self, name: str) -> str:
        """One of the fixed lines: top, status or hints."""
        return self.app.screen.query_one(f"#{name}", Bar).line

    async def sees(self, check: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
        """Wait until something is shown."""
        return await until(check, what, wait_s)


def drive(
    paths: Paths,
    scenario: Callable[[Driver], Awaitable[None]],
    *,
    size: tuple[int, int] = SIZE,
    **options: Any,
) -> None:
    """Run the app on `paths` and a scenario with it."""

    async def run() -> None:
        app = InternsApp(paths=paths, **options)
        async with app.run_test(size=size) as pilot:
            driver = Driver(app, pilot)
            await driver.sees(lambda: app.link.state == "ready", "the office")
            await scenario(driver)

    asyncio.run(run())
