"""Open the screens: what must be settled before Textual is imported."""

from __future__ import annotations

import os

from tui.model.words import ScreenName


def open_screens(screen: ScreenName = "chat", *, intern: str = "", knowledge: str = "") -> int:
    """Run the terminal interface and return the exit status.

    Args:
        screen: The first screen.
        intern: For the chat: who answers; empty routes every message.
        knowledge: For the chat: documents to quote from.
    """
    if os.environ.get("SSH_CONNECTION"):
        os.environ.setdefault("TEXTUAL_FPS", "15")  # read when Textual is imported
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    from tui.app import InternsApp

    app = InternsApp(first=screen, intern=intern, knowledge=knowledge)
    app.run()
    return app.return_code or 0
