"""Commands and screens start fast: they never load what the daemon works with."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tui.running import ROOT

HEAVY = ("torch", "transformers", "llama_cpp", "langgraph", "chromadb", "sqlmodel", "numpy")


def _loaded(code: str) -> set[str]:
    show = "import sys; print(','.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return set(done.stderr.strip().splitlines()[-1].split(","))


@pytest.mark.parametrize(
    "code",
    [
        "from tui.cli import build; build()",
        "import orchestrator.client",
        "import tui.app",
        "import tui.plain.chat, tui.plain.approvals, tui.plain.training",
    ],
)
def test_no_model_library_is_loaded_when_clients_are_imported(code: str) -> None:
    assert not _loaded(code) & set(HEAVY)


def test_not_even_typer_is_loaded_when_the_version_is_asked() -> None:
    loaded = _loaded("from tui.cli import main; main(['--version'])")
    assert not loaded & {*HEAVY, "typer", "textual", "httpx", "pydantic"}


def test_screens_are_not_loaded_when_a_command_is_built() -> None:
    assert "textual" not in _loaded("from tui.cli import build; build()")
