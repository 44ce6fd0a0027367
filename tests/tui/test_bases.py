"""`interns bases` and `interns teach` as a person types them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys

import psutil
import pytest

from tests.tiny_bases import write_tiny_base
from tests.tiny_hub import TinyHub
from tests.tui.running import ROOT, answer, environment, eventually, interns

pytestmark = pytest.mark.timeout(600)
PULL = (sys.executable, "-m", "tui", "bases", "pull", "some/wide", "--json")


@pytest.fixture
def hub():
    made = TinyHub()
    yield made
    made.close()


def test_recommended_bases_are_listed_with_what_they_take(office, paths):
    found = answer(paths, "bases", "list")
    here, absent = [b for b in found if b["here"]], [b for b in found if not b["here"]]
    assert here[0]["name"] == "starter"
    assert here[0]["in_use"]
    assert {"smollm2-135m-instruct", "llama-2-7b-hf", "qwen3-4b"} <= {b["name"] for b in absent}
    for base in absent:
        assert base["licence"]
        assert base["bytes"] < base["download_bytes"] < base["train_bytes"]
    shown = interns(paths, "bases", "list")
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "in use" in lines["starter"]
    assert "gated" in lines["llama-2-7b-hf"]
    assert "GB" in lines["qwen3-4b"]
    assert "interns bases pull" in shown.stderr


def _pulls(daemon: psutil.Process) -> bool:
    """Whether a child still pulls; one that ends while it is looked at does not."""
    for child in daemon.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as such
            if "pull-base" in child.cmdline():
                return True
    return False


def test_stopped_pull_goes_on_and_the_base_is_put_to_work(office, paths, hub, tmp_path):
    folder = write_tiny_base(tmp_path / "wide", "llama", intermediate_size=24576)
    hub.add("some/wide", folder, held_after=25 << 20)
    around = environment(paths, **hub.environment)
    parts = paths.bases / ".pulling" / "wide" / "source"
    with subprocess.Popen(
        PULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around, cwd=ROOT
    ) as stopped:
        eventually(
            lambda: any(part.stat().st_size >= 10 << 20 for part in parts.glob("*.part")),
            "the download is under way",
            60,
        )
        stopped.send_signal(signal.SIGINT)
        out, told = stopped.communicate(timeout=30)
    assert (stopped.returncode, out) == (130, "")
    assert "goes on where it stopped" in told
    daemon = psutil.Process(office.status()["pid"])
    eventually(
        lambda: not _pulls(daemon),
        "the office let go of the pull",
    )
    hub.release.set()
    eventually(lambda: "wide" not in (b["name"] for b in office.bases()), "nothing half-made")

    def pulled():  # the stopped one may take a moment to let go
        done = interns(paths, *PULL[3:], **hub.environment)
        return done if done.returncode != 1 or "already" not in done.stderr else None

    done = eventually(pulled, "the second pull", 90)
    assert done.returncode == 0, done.stderr
    assert "Going on with the download" in done.stderr
    assert json.loads(done.stdout)["verified"]

    assert "wide is in use" in (told := interns(paths, "bases", "use", "wide").stderr)
    assert "interns teach triage --base wide" in told
    table = interns(paths, "list").stdout
    assert "waits for base starter" in table
    assert "waits for base starter" in interns(paths, "show", "triage").stdout
    asked = interns(paths, "ask", "@triage", "Where is my parcel?")
    assert asked.returncode == 1
    assert "was trained on the base starter" in asked.stderr
    assert answer(paths, "bases", "verify")["base"] == "wide"
    assert answer(paths, "bases", "use", "starter")["in_use"]
    assert answer(paths, "ask", "@triage", "Where is my parcel?")["intern"] == "triage"


def test_mistakes_are_told_with_the_next_step(office, paths, tmp_path):
    for words, code, told in (
        (("bases", "pull", "nothing-like-it"), 2, "interns bases list"),
        (("bases", "pull", "./missing.gguf"), 2, "Check the path"),
        (("bases", "pull", "a/b", "--name", "starter"), 2, "cannot name a base"),
        (("bases", "use", "nowhere"), 2, "interns bases list"),
        (("bases", "verify", "nowhere"), 2, "interns bases list"),
        (("teach", "triage", "--base", "nowhere"), 2, "interns bases list"),
        (("teach", "nobody-here", "--base", "starter"), 2, "interns list"),
        (("teach", "triage"), 2, "--base"),
    ):
        done = interns(paths, *words)
        assert (done.returncode, words) == (code, words), done.stderr
        assert told in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    done = interns(paths, "bases", "pull", str(empty))
    assert done.returncode == 1
    assert "empty has no" in done.stderr
