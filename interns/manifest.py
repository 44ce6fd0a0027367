"""A version folder on disk and the values it stands for.

A folder is complete when ``SHA256SUMS`` is there and every hash in it is right; it is written
last. The same form is made by training, shipped with the project and taken by `import`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomlkit

from interns.adapter import Adapter
from interns.completion import EMBEDDED
from interns.errors import BrokenFile, NotFound
from interns.intern import Blend, Profile
from interns.skill import Skill

SUMS = "SHA256SUMS"
MANIFEST = "intern.toml"
ADAPTER = "adapter.gguf"


@dataclass(frozen=True)
class VersionFolder:
    """What a complete version folder says.

    Attributes:
        folder: Where it lies.
        profile: What prompt and constraints need.
        adapter: The GGUF LoRA with its hash and its base's hash.
        base_name: What that base was called.
        tokenizer_sha256: Hash of the base's ``tokenizer.json``.
        template_sha256: Hash of the chat template it was trained with.
        exam: Content of ``exam.json``.
        verification: Content of ``verification.json``; empty where there is none.
        recipe: Content of ``recipe.json``.
        dataset: Content of ``dataset.json``.
        exemplars: Typical inputs; the router learns from them.
    """

    folder: Path
    profile: Profile
    adapter: Adapter
    base_name: str
    tokenizer_sha256: str
    template_sha256: str
    exam: Mapping[str, Any]
    verification: Mapping[str, Any]
    recipe: Mapping[str, Any]
    dataset: Mapping[str, Any]
    exemplars: tuple[str, ...]


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, profile: Profile, base: Mapping[str, str]) -> None:
    """Write ``intern.toml``.

    Args:
        folder: The version folder being built.
        profile: As trained.
        base: ``name``, ``sha256``, ``tokenizer_sha256`` and ``template_sha256``.
    """
    document = tomlkit.document()
    document["name"] = profile.name
    document["skill"] = profile.skill.value
    document["role"] = profile.role
    document["labels"] = list(profile.labels)
    document["schema"] = json.dumps(profile.schema) if profile.schema is not None else ""
    document["max_tokens"] = profile.max_tokens
    document["temperature"] = float(profile.temperature)
    document["fitted_with"] = profile.fitted_with
    document["threshold"] = float(profile.threshold)
    if profile.skill is Skill.ANSWER:
        document["blend"] = asdict(profile.blend)
    document["base"] = dict(base)
    (folder / MANIFEST).write_text(tomlkit.dumps(document), encoding="utf-8")


def seal_folder(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file of a finished folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}" for file in files]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_sums(folder: Path) -> None:
    """Compare every file with ``SHA256SUMS``.

    Raises:
        NotFound: There is no such folder.
        BrokenFile: The folder is unfinished, a file is missing or differs.
    """
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.", "Check the path; see `interns list`.")
    sums = folder / SUMS
    if not sums.is_file():
        raise BrokenFile(
            f"{folder} has no {SUMS}, so it is no finished version of an intern.",
            "Point at a folder made by `interns onboard`, or run the onboarding again.",
        )
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise BrokenFile(f"{file} is listed in {SUMS} but missing.", "Copy the folder again.")
        if sha256_of(file) != expected:
            raise BrokenFile(
                f"{file} changed since it was sealed: its hash differs from {SUMS}.",
                "Copy the folder again, or train a new version.",
            )


def read_version_folder(folder: Path) -> VersionFolder:
    """Check a version folder and return what it says.

    Raises:
        NotFound: There is no such folder.
        BrokenFile: It is unfinished, changed, or its manifest cannot be read.
    """
    check_sums(folder)
    try:
        manifest = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        base = manifest["base"]
        adapter, verified = folder / ADAPTER, folder / "verification.json"
        return VersionFolder(
            folder=folder,
            profile=_profile(manifest),
            adapter=Adapter(adapter, sha256_of(adapter), base["sha256"]),
            base_name=str(base.get("name", "")),
            tokenizer_sha256=base["tokenizer_sha256"],
            template_sha256=base["template_sha256"],
            exam=_json(folder / "exam.json"),
            verification=_json(verified) if verified.exists() else {},
            recipe=_json(folder / "recipe.json"),
            dataset=_json(folder / "dataset.json"),
            exemplars=tuple(_json(folder / "exemplars.json")),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise BrokenFile(
            f"{folder} is no version of an intern: {error!r}.", "Train or import it again."
        ) from error


def _profile(manifest: Mapping[str, Any]) -> Profile:
    return Profile(
        name=manifest["name"],
        skill=Skill(manifest["skill"]),
        role=manifest["role"],
        labels=tuple(manifest["labels"]),
        schema=json.loads(manifest["schema"]) if manifest["schema"] else None,
        max_tokens=manifest["max_tokens"],
        temperature=manifest["temperature"],
        fitted_with=manifest.get("fitted_with", EMBEDDED),
        threshold=manifest["threshold"],
        blend=Blend(**manifest.get("blend", {})),
    )


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
