"""The `interns` command: reads which verb is meant and loads only its file.

``interns --version`` answers before Typer is imported; a verb loads its own module; only the list of
all commands loads every one.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer
    from typer.exceptions import TyperException

    from interns.errors import InternsError

VERBS: dict[str, str] = {
    "onboard": "onboard",
    "ask": "ask",
    "chat": "chat",
    "route": "ask",
    "task": "task",
    "approvals": "approvals",
    "corrections": "approvals",
    "teach": "teach",
    "list": "roster",
    "show": "roster",
    "versions": "roster",
    "promote": "roster",
    "rollback": "roster",
    "retire": "roster",
    "import": "roster",
    "knowledge": "knowledge",
    "runs": "runs",
    "bases": "bases",
    "serve": "daemon",
    "status": "daemon",
    "stop": "daemon",
    "doctor": "doctor",
    "config": "config",
}
HELP = """Small fine-tuned models as co-workers, on your own machine.

Without a command the screens open. Data goes to stdout, narration to stderr.

Exit status: 0 done, 1 failed, 2 usage or configuration, 3 try again, 4 gate not met,
5 needs a human, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        return _version()
    arguments = _take_globals(arguments)
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader took what it wanted; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _version() -> int:
    from importlib.metadata import version

    print(f"interns {version('interns')}")
    return 0


def _take_globals(arguments: list[str]) -> list[str]:
    """Take out flags that mean the same everywhere; what follows ``--`` stays."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept: list[str] = []
    position = 0
    while position < end:
        word = arguments[position]
        if word == "--no-input":
            os.environ["INTERNS_NO_INPUT"] = "1"
        elif word == "--home" and position + 1 < end:
            position += 1
            os.environ["INTERNS_HOME"] = arguments[position]
        elif word.startswith("--home="):
            os.environ["INTERNS_HOME"] = word.removeprefix("--home=")
        else:
            kept.append(word)
        position += 1
    return kept + arguments[end:]


def _dispatch(arguments: list[str]) -> int:
    from interns.errors import InternsError, InvalidInput
    from tui.output import prepare_streams, report

    prepare_streams()
    as_json = any(flag in arguments for flag in ("--json", "--events"))
    try:
        if not arguments:
            return _screens()
        verb = arguments[0]
        if not verb.startswith("-") and verb not in VERBS:
            raise InvalidInput(f"{verb!r} is not a command.", _nearest(verb))
        return _invoke(build(None if verb.startswith("-") else verb), arguments, as_json)
    except InternsError as error:
        return report(error, as_json=as_json)


def build(verb: str | None = None) -> typer.Typer:
    """Return the command tree: of one verb, or of all when None."""
    import typer

    app = typer.Typer(
        name="interns",
        help=HELP,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def every(
        home: str = typer.Option("", help="Data directory; same as INTERNS_HOME."),
        no_input: bool = typer.Option(False, "--no-input", help="Never ask, never block."),
        version: bool = typer.Option(False, "--version", "-V", help="Show the version and exit."),
    ) -> None:
        del home, no_input, version  # taken by `main` before Typer sees them

    modules = dict.fromkeys(VERBS.values()) if verb is None else {VERBS[verb]: None}
    for name in modules:
        importlib.import_module(f"tui.commands.{name}").register(app)
    return app


def _invoke(app: typer.Typer, arguments: list[str], as_json: bool) -> int:
    import typer
    from typer.exceptions import TyperException

    from tui.output import report

    try:
        code = app(arguments, prog_name="interns", standalone_mode=False)
    except TyperException as error:
        return report(_usage_error(error, arguments), as_json=as_json)
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def _usage_error(error: TyperException, arguments: list[str]) -> InternsError:
    from interns.errors import InvalidInput

    words = [word for word in arguments[:2] if not word.startswith("-")]
    verb = " ".join(words[: 2 if words and _is_group(words[0]) else 1])
    text = error.format_message().strip() or "A command is missing."
    return InvalidInput(text, f"See `interns {verb} --help`.".replace("  ", " "))


def _is_group(verb: str) -> bool:
    return verb in {"task", "approvals", "knowledge", "runs", "bases", "config"}


def _nearest(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    return f"Did you mean `interns {near[0]}`?" if near else "See `interns --help`."


def _screens() -> int:
    from tui.output import can_draw, interactive, say

    if can_draw():
        from tui.start import open_screens

        return open_screens()
    if interactive():
        say("This terminal cannot draw screens, so here is a chat, line by line.")
        say("The approvals: `interns approvals review --plain`. All commands: `interns --help`.")
        from tui.plain.chat import chat

        return chat()
    _invoke(build(), ["--help"], as_json=False)
    return 2


if __name__ == "__main__":
    sys.exit(main())
