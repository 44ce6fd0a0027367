"""`interns chat`: talk with interns, on the screen or line by line."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.commands.options import Knowledge, Plain
from tui.output import can_draw


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Who answers; else it is routed.")
    ] = "",
    knowledge: Knowledge = "",
    plain: Plain = False,
) -> int:
    """Talk with an intern, or with whoever fits."""
    intern = name.removeprefix("@")
    if can_draw() and not plain:
        from tui.start import open_screens

        return open_screens("chat", intern=intern, knowledge=knowledge)
    from tui.plain.chat import chat as chat_plain

    return chat_plain(intern or None, knowledge or None)
