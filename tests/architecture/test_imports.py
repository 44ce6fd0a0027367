import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "llama_cpp", "langgraph", "chromadb", "sqlmodel")


def loaded_after(code: str) -> set[str]:
    listing = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in listing.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import orchestrator.client",
        "import tui.cli",
        "import tui.app",
        "import interns, orchestrator, retrieval, training, tui",
    ],
)
def test_clients_load_no_model_graph_or_database(code):
    assert loaded_after(code).isdisjoint(HEAVY)


def test_daemon_loads_no_training_code():
    assert "training" not in loaded_after("import orchestrator.daemon")
