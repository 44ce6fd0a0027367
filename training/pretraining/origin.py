"""What a folder of token files is made from, so that other texts are never taken for read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer

from interns.errors import Incompatible, InvalidInput
from interns.gguf.writing import whole_file
from training.pretraining.chats import SETS, read_sets
from training.pretraining.contamination import exam_files
from training.pretraining.corpus import sources
from training.pretraining.recipe import Course
from training.pretraining.tokenizer import tokenizer_sha256
from training.pretraining.tokens import SUFFIX

MADE_FOR, DONE = "made-for.txt", "done"


def origin_of(
    corpus: Path, sets: Path | None, course: Course, tokenizer: Tokenizer
) -> dict[str, str]:
    """Everything that decides the token files: settings, and the hash of every file.

    Raises:
        InvalidInput: There is no corpus, or none of the known sets.
    """
    exams = exam_files(sets) if sets is not None else {}
    return {
        "generated chats": str(course.skills),
        "seed": str(course.seed),
        "tokenizer": tokenizer_sha256(tokenizer),
        **{path.name: _sha256(path) for path in sources(corpus)},
        **{f"the set {name}": _sha256(path) for name, path in sets_in(sets).items()},
        **{f"the exam {name}": _sha256(path) for name, path in exams.items()},
    }


def claim(folder: Path, origin: Mapping[str, str]) -> None:
    """Write down what a folder will be made from, or compare with what stands there.

    It is written before the first token file and never again, so that no source is taken over
    from another corpus or recipe.

    Raises:
        Incompatible: The folder was made from something else; says what differs.
        NoSpace: The disk is full.
    """
    noted = folder / MADE_FOR
    text = "".join(f"{name}: {value}\n" for name, value in origin.items())
    if noted.is_file():
        found = noted.read_text("utf-8", errors="replace")
        other = sorted({
            line.rpartition(": ")[0] or line[:40]
            for line in set(found.splitlines()) ^ set(text.splitlines())
        })
        if other:
            raise Incompatible(
                f"{folder} was prepared from something else: {', '.join(other)}.",
                "Give the recipe, --corpus and --sets that it was made with, or another --out. "
                f"If everything in it is wanted as it is, give --corpus {folder} without --sets.",
            )
        return
    if any(folder.rglob(f"*{SUFFIX}")):
        raise Incompatible(
            f"{folder} holds token files, but no {MADE_FOR} that tells what they were made from.",
            f"Give another --out, or read them as they are: --corpus {folder} without --sets.",
        )
    with whole_file(noted) as partial:
        partial.write_text(text, encoding="utf-8")


def mark_done(folder: Path) -> None:
    """Note the token files of a folder that is finished.

    Raises:
        NoSpace: The disk is full.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob(f"*{SUFFIX}"))
    with whole_file(folder / DONE) as partial:
        partial.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def is_done(folder: Path) -> bool:
    """Whether a folder was finished and all its token files are still there."""
    done = folder / DONE
    if not done.is_file():
        return False
    return all((folder / name).is_file() for name in done.read_text("utf-8").splitlines())


def sets_in(folder: Path | None) -> dict[str, Path]:
    """The known instruction sets of a folder and their files; none where no folder is given.

    Raises:
        InvalidInput: The folder holds none of them: it is hardly the one that was meant.
    """
    if folder is None:
        return {}
    found = {name: path for name, path, _ in read_sets(folder)}
    if not found:
        known = ", ".join(f"{name}/{file}" for name, (file, _) in SETS.items())
        raise InvalidInput(
            f"{folder} holds none of the known instruction sets.",
            f"Give the folder that holds some of {known}; or leave --sets out.",
        )
    return found


def describe_sets(folder: Path | None) -> str:
    """Which sets are read and which are not there, in one line."""
    found = sets_in(folder)
    others = [name for name in SETS if name not in found]
    missing = f"; not there: {', '.join(others)}" if others else ""
    return f"Instruction sets: {', '.join(found) or 'none, for want of --sets'}{missing}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
