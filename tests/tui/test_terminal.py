"""The real command in a real terminal (tmux), and line mode in a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.tui.running import ROOT, WAIT_S, environment, eventually, parked
from tui.model.guard import ON_SCREEN_S

ASKED = "Where is my parcel?"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[349][0-8]|10[0-7])[;m]")  # 39 and 49 are no colours
needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """A terminal of 80 by 24 with a server of its own."""

    def __init__(self, socket: Path, paths: Paths, words: str = "", **more: str) -> None:
        self.socket = socket
        chosen = " ".join(f"{name}={value}" for name, value in more.items())
        program = f"env {chosen} {sys.executable} -m tui {words}"
        command = f"{program}; echo ended $?; stty -a | grep -o -- '-*icanon'; cat"
        env = environment(paths)
        kept = {key: env[key] for key in env if key not in {"TMUX", "TMUX_PANE"}}
        self._run("new-session", "-d", "-x", "80", "-y", "24", command, env=kept)

    def keys(self, *keys: str) -> None:
        """Press keys, far enough apart that none is taken for an escape sequence."""
        for key in keys:
            self._run("send-keys", key)
            time.sleep(0.15)

    def text(self, *options: str) -> str:
        """What the terminal shows."""
        return self._run("capture-pane", "-p", *options)

    def shows(self, needle: str, wait_s: float = 2 * WAIT_S) -> str:
        """Wait until the terminal shows a text, and return all of it."""
        eventually(lambda: needle in self.text(), needle, wait_s)
        return self.text()

    def close(self) -> None:
        """End this terminal and its server."""
        self._run("kill-server")

    def _run(self, *words: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=env,
        )
        return done.stdout


@pytest.fixture
def terminal(tmp_path: Path, paths: Paths) -> Iterator[Callable[..., Tmux]]:
    """Open terminals that run `interns WORDS`."""
    opened: list[Tmux] = []

    def make(words: str = "", **more: str) -> Tmux:
        opened.append(Tmux(tmp_path / f"tmux{len(opened)}", paths, words, **more))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@needs_tmux
def test_screens_work_by_keyboard_when_the_terminal_is_80_by_24(
    office: OfficeClient, terminal: Callable[..., Tmux]
) -> None:
    approval = parked(office, ASKED, intern="triage")
    screen = terminal()
    screen.shows("office ready")
    screen.keys("@triage Where is it?", "Enter")
    screen.shows("triage v1")
    screen.keys("Escape", "2")
    shown = screen.shows(f"#{approval['id']}")
    assert shown.splitlines()[-1].endswith("? help")
    time.sleep(2 * ON_SCREEN_S)
    screen.keys("a")
    eventually(lambda: office.approval(approval["id"])["status"] == "approved", "the decision")
    screen.keys("?")
    screen.shows("Keys on this screen")
    screen.keys("Escape", "3")
    screen.shows("versions")
    screen.keys("4")
    screen.shows("New onboarding")
    screen.keys("C-c")
    screen.shows("again to leave")
    screen.keys("C-c")
    left = screen.shows("ended 0")
    assert "-icanon" not in left


@needs_tmux
def test_no_colour_is_written_when_no_color_is_set(
    office: OfficeClient, terminal: Callable[..., Tmux]
) -> None:
    screen = terminal("approvals review", NO_COLOR="1")
    screen.shows("office ready")
    assert not COLOUR.findall(screen.text("-e"))


@needs_tmux
def test_lines_are_used_when_the_terminal_is_dumb(
    office: OfficeClient, terminal: Callable[..., Tmux]
) -> None:
    screen = terminal(TERM="dumb")
    screen.shows("You:")
    screen.keys("@triage Where is it?", "Enter")
    screen.shows("triage v1")
    screen.keys("C-d")
    screen.shows("ended 0")


class Pty:
    """A command whose terminal is read as raw bytes."""

    def __init__(self, paths: Paths, *words: str) -> None:
        self.output = b""
        env = environment(paths, TERM="xterm-256color")
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, "-m", "tui", *words], env)
        self.pid = pid

    def shows(self, needle: str) -> None:
        """Wait until the command wrote a text."""
        deadline = time.monotonic() + 2 * WAIT_S
        while needle.encode() not in self.output:
            assert time.monotonic() < deadline, self.output.decode()
            if select.select([self.fd], [], [], 0.1)[0]:
                self.output += os.read(self.fd, 65536)

    def write(self, text: str) -> None:
        """Type a text."""
        os.write(self.fd, text.encode())

    def reads(self) -> None:
        """Wait until the command sleeps, which after a prompt means: until it reads.

        Python sees a signal between the prompt and the read only with the next key.
        """
        process = psutil.Process(self.pid)
        eventually(lambda: process.status() == psutil.STATUS_SLEEPING, "reading", 2 * WAIT_S)

    def ends(self) -> int:
        """Wait for the end and return the exit status."""
        deadline = time.monotonic() + 2 * WAIT_S
        while True:
            assert time.monotonic() < deadline, self.output.decode()
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                if not (more := os.read(self.fd, 65536)):
                    break
                self.output += more
            except OSError:
                break
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _plain(output: bytes) -> bool:
    text = output.decode()
    return "\x1b" not in text and not any("\u2500" <= character <= "\u28ff" for character in text)


def test_queue_is_decided_in_lines_when_plain_is_asked(office: OfficeClient, paths: Paths) -> None:
    first = parked(office, ASKED, intern="triage", effect="file:plain.txt")
    second = parked(office, "I want my money back.", intern="triage")
    lines = Pty(paths, "approvals", "--plain")
    lines.shows("q quit:")
    lines.write("x\n")
    lines.write("a\n")
    lines.shows("2 of 2")
    lines.write("r\n")
    lines.shows("Reason:")
    lines.write("No.\n")
    lines.shows("All clear")
    assert lines.ends() == 0
    assert _plain(lines.output)
    assert office.approval(first["id"])["status"] == "approved"
    assert office.approval(second["id"])["decision"]["reason"] == "No."


def test_chat_is_lines_when_plain_is_asked(office: OfficeClient, paths: Paths) -> None:
    lines = Pty(paths, "chat", "triage", "--plain")
    lines.shows("You:")
    lines.write(f"{ASKED}\n")
    lines.shows("triage v")
    lines.write("/quit\n")
    assert lines.ends() == 0
    assert _plain(lines.output)


def test_terminal_is_left_with_130_when_interrupted(office: OfficeClient, paths: Paths) -> None:
    lines = Pty(paths, "chat", "--plain")
    lines.shows("You:")
    lines.reads()
    lines.write("\x03")
    assert lines.ends() == 130
