"""`interns bases`: the model that all interns share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from interns.errors import GateNotMet
from interns.gate import engine_words
from tui.commands.options import AsJson
from tui.model.bases import base_rows, hub_environment
from tui.office import open_office
from tui.output import emit, say, show_table

Json = dict[str, Any]
EVERY_S = 5.0  # between progress lines where a line cannot be drawn over

bases = typer.Typer(help="The model that all interns share.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bases, name="bases")


@bases.command("list")
def list_bases(as_json: AsJson = False) -> None:
    """List the bases that are here, and recommended ones to pull.

    Sizes and memory of bases that are not here are estimates for Q8_0.
    """
    with open_office() as office:
        found = office.bases()
    if as_json:
        emit(found)
        return
    show_table(
        ("NAME", "STATUS", "FAMILY", "TYPE", "SIZE", "SERVES IN", "TRAINS IN", "LICENCE"),
        base_rows(found),
    )
    say("Fetch one: interns bases pull NAME")


@bases.command()
def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A recommended name, OWNER/NAME on the hub, a folder with safetensors, or a GGUF.",
        ),
    ],
    name: Annotated[
        str, typer.Option(help="What to call it; made of the source if left out.")
    ] = "",
    file_type: Annotated[
        str, typer.Option("--type", help="Q8_0 (default), Q4_K_M, F16 or F32.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch a base, convert it to GGUF and check it against torch.

    Ctrl-C stops it; the same command goes on where it stopped. A gated repository wants its licence
    accepted and a token in HF_TOKEN.
    """
    with open_office() as office:
        events = office.pull_base(
            source, name=name, file_type=file_type, environment=hub_environment(os.environ)
        )
        base = _follow(events)["base"]
    if as_json:
        emit(base)
    else:
        say(f"{base['name']} is ready. Put it to work: interns bases use {base['name']}")


@bases.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A base that is here.")],
    as_json: AsJson = False,
) -> None:
    """Serve and train with another base from now on.

    Interns stay bound to the base they were trained on: `interns list` tells which ones wait.
    """
    with open_office() as office:
        base = office.use_base(name)
        waiting = [one["name"] for one in office.interns() if not one["base_in_use"]]
        ready = {one: _newest_on(office.versions(one), base["sha256"]) for one in waiting}
    if as_json:
        emit(base)
        return
    say(f"{name} is in use.")
    for one, number in ready.items():
        if number:
            say(f"{one} v{number} was trained on it: interns promote {one} {number}")
        else:
            say(
                f"{one} waits for another base; train it on this one: interns teach {one} --base {name}"
            )


@bases.command()
def verify(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A base; the one in use if left out.")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Compare a base in llama.cpp with its copy in torch: token ids and probabilities."""
    with open_office() as office:
        found: Json = {}
        try:
            for event in office.verify_base(name):
                found = event.get("data") or found
                if event["event"] == "progress" and not event.get("data"):
                    say(str(event["text"]))
        except GateNotMet:
            if not found:
                raise
    if as_json:
        emit(found)
    else:
        _show(found)
    return 0 if found["passed"] else GateNotMet.exit_code


def _newest_on(versions: list[Json], sha256: str) -> int:
    """Number of the newest version trained on a base; 0 when there is none."""
    return max((one["number"] for one in versions if one["base_sha256"] == sha256), default=0)


def _follow(events: Iterator[Json]) -> Json:
    """Tell on stderr how far a pull is; return its last event.

    Raises:
        KeyboardInterrupt: The person stopped it, and was told how to go on.
    """
    over = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    drawn = last = 0.0
    event: Json = {}
    try:
        for event in events:
            counted = "total_bytes" in event
            text = f"{event.get('step', ''):<9} {event.get('text', '')}"
            if counted and over:
                drawn = max(drawn, len(text))
                print(f"\r{text.ljust(int(drawn))}", end="", file=sys.stderr, flush=True)
            elif counted and time.monotonic() - last >= EVERY_S:
                last = time.monotonic()
                say(text)
            elif not counted and event["event"] == "progress":
                drawn = _end_line(drawn)
                say(text)
    except KeyboardInterrupt:
        _end_line(drawn)
        say("Stopped. The same command goes on where it stopped.")
        raise
    _end_line(drawn)
    return event


def _end_line(drawn: float) -> float:
    if drawn:
        print(file=sys.stderr, flush=True)
    return 0.0


def _show(found: Json) -> None:
    show_table(
        ("CHECK", "RESULT"),
        (
            ("base", found["base"]),
            ("sha256", str(found["sha256"])[:12]),
            ("equal token ids", f"{found['token_ids_equal']} of {found['texts']} texts"),
            ("same next token", f"{found['top1_agreement']:.4f} of {found['positions']} places"),
            ("where torch is clear", f"{found['top1_decided']:.4f}"),
            ("mean difference", f"{found['mean_kl']:.1e} nats"),
            ("computed on", engine_words(found)),
            ("passed", "yes" if found["passed"] else "no"),
        ),
    )
