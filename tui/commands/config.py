"""`interns config get|set|path`: settings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from interns.errors import InvalidInput
from interns.paths import Paths
from tui.commands.options import AsJson
from tui.output import emit, say, show, show_table

settings = typer.Typer(help="Settings.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(settings, name="config")


@settings.command()
def get(
    key: Annotated[str, typer.Argument(help="Such as charter.mission; all if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the value in force of one setting, or all with where each comes from."""
    from interns.settings import get_value, keys, source_of

    paths = Paths.default()
    chosen = [(name, text) for name, text, _ in keys()]
    if key:
        texts = dict(chosen)
        value = get_value(paths, key)
        if as_json:
            emit({"key": key, "value": value, "source": source_of(paths, key)})
        else:
            show(_text(value))
            say(f"{texts[key]} From: {source_of(paths, key)}")
        return
    rows = [(name, get_value(paths, name), source_of(paths, name), text) for name, text in chosen]
    if as_json:
        emit([{"key": k, "value": v, "source": s, "about": a} for k, v, s, a in rows])
    else:
        show_table(("KEY", "VALUE", "FROM", "ABOUT"), ((k, _text(v), s, a) for k, v, s, a in rows))


@settings.command("set")
def set_setting(
    key: Annotated[str, typer.Argument(help="Such as charter.mission.")],
    value: Annotated[str, typer.Argument(help="Lists are separated by commas.")],
    as_json: AsJson = False,
) -> None:
    """Write one setting to the data directory's config.toml."""
    from interns.settings import set_value

    if key == "base.name" and value != "starter":  # `bases use` checks and loads it first
        raise InvalidInput(
            "The base is not changed by a setting alone.", f"Run `interns bases use {value}`."
        )
    paths = Paths.default()
    written = set_value(paths, key, value)
    if as_json:
        emit({"key": key, "value": written, "source": str(paths.config)})
    else:
        say(f"{key} is now {_text(written)!r} in {paths.config}.")


@settings.command()
def path() -> None:
    """Print where the settings lie."""
    show(str(Paths.default().config))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
