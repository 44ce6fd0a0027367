"""The version folder: everything about a version in one place, sealed with hashes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interns.base_model import BaseModelRef
from interns.gguf.adapter_file import read_adapter_metadata
from interns.intern import Profile
from interns.manifest import seal_folder, write_manifest
from training.artifacts import RunFolder, require_space, saving, write_json
from training.dataset import Splits
from training.evaluate import exemplars
from training.evaluation import Exam, Verification
from training.recipe import Recipe
from training.report import CardFacts, write_card

_SPARE_BYTES = 2**20


@dataclass(frozen=True)
class VersionParts:
    """What a version is made of besides the exported files."""

    profile: Profile
    base: BaseModelRef
    splits: Splits
    recipe: Recipe
    tuning: Mapping[str, Any]
    attribution: str
    exam: Exam
    verification: Verification

    @property
    def dataset(self) -> dict[str, Any]:
        """Content of ``dataset.json``."""
        return {
            "fingerprint": self.splits.fingerprint,
            "attribution": self.attribution,
            **self.splits.report,
        }


def write_version(run: RunFolder, parts: VersionParts) -> Path:
    """Build ``version.partial`` and rename it to ``version``.

    Raises:
        NoSpace: The disk is full; no folder ``version`` appears.
    """
    exported, target = run.work / "export", run.partial
    size = sum(file.stat().st_size for file in exported.rglob("*") if file.is_file())
    require_space(run.folder, size + _SPARE_BYTES, "the version")
    shutil.rmtree(target, ignore_errors=True)
    with saving(run.folder, "the version"):
        shutil.copytree(exported, target)
        shutil.copyfile(run.curve, target / "curve.jsonl")
        write_manifest(target, parts.profile, _base_facts(parts.base, exported))
        recipe = {
            **parts.recipe.to_dict(),
            "sha256": parts.recipe.sha256,
            "tuning": dict(parts.tuning),
        }
        write_json(target / "recipe.json", recipe)
        write_json(target / "dataset.json", parts.dataset)
        write_json(target / "exam.json", parts.exam.to_dict())
        write_json(target / "verification.json", parts.verification.to_dict())
        write_json(target / "exemplars.json", exemplars(parts.splits.train))
        facts = CardFacts(
            parts.profile, parts.base, parts.dataset, recipe, parts.exam, parts.verification
        )
        (target / "card.md").write_text(write_card(facts), encoding="utf-8")
        seal_folder(target)
        target.replace(run.version)
    return run.version


def _base_facts(base: BaseModelRef, exported: Path) -> dict[str, str]:
    """Hashes as the adapter file records them, so that both always agree."""
    recorded = read_adapter_metadata(exported / "adapter.gguf")
    return {
        "name": base.name,
        "sha256": recorded["base.sha256"],
        "tokenizer_sha256": recorded["tokenizer.sha256"],
        "template_sha256": recorded["template.sha256"],
    }
