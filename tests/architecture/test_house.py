import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("interns", "orchestrator", "training", "retrieval", "tui")
SOURCES = [p for package in PACKAGES for p in (ROOT / package).rglob("*.py")]


def test_layers_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_documents_agree_with_the_tree():
    done = subprocess.run(
        [sys.executable, "docs/check.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_notes_stand_under_no_other_weights(tmp_path):
    spec = importlib.util.spec_from_file_location("cards", ROOT / "docs" / "cards.py")
    cards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cards)
    (tmp_path / "base.gguf").write_bytes(b"weights")
    (tmp_path / "CARD.md").write_text("# made\n\nMade by a run.\n")
    (tmp_path / "NOTES.md").write_text("<!-- 0123456789ab -->\n\n## Scores\n")
    (told,) = cards.problems([tmp_path])
    assert "NOTES.md: not of" in told
    weights = cards.sha256(tmp_path)[:12]
    (tmp_path / "NOTES.md").write_text(f"<!-- {weights} -->\n\n## Scores\n")
    (told,) = cards.problems([tmp_path])
    assert "NOTES.md is not its end" in told
    for _ in range(2):  # written again, it is the same
        (tmp_path / "CARD.md").write_text(cards.card(tmp_path))
        assert cards.problems([tmp_path]) == []
    assert (tmp_path / "CARD.md").read_text().endswith(f"{cards.MARK}\n## Scores\n")


def test_benchmark_of_llama_cpps_own_tools_is_run_or_said_to_be_left_out():
    def bench(*options: str) -> str:
        return subprocess.check_output(["make", "-n", "bench", *options], cwd=ROOT, text=True)

    assert "Left out: llama.cpp's own tools" in bench()
    with_tools = bench("TOOLS=/some/folder")
    assert 'benchmarks/peers.py "/some/folder" --base' in with_tools
    assert "Left out" not in with_tools


def test_every_module_says_what_it_is():
    silent = [p for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert [str(p.relative_to(ROOT)) for p in silent if p.stat().st_size] == []


def test_no_file_grows_beyond_one_concept():
    long = {
        str(p.relative_to(ROOT)): n
        for p in SOURCES
        if "migrations" not in p.parts and (n := len(p.read_text("utf-8").splitlines())) > 400
    }
    assert long == {}


def test_names_of_places_for_everything_are_not_used():
    grab_bags = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    assert [p for p in SOURCES if p.name in grab_bags] == []
