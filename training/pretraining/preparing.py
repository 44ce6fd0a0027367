"""The corpus is prepared once: read, cleaned, without exam texts, tokenized, one file per source.

Interrupted, it goes on with the sources that are missing. The files may lie in folders of a limited
size, so that they can be carried to another machine one after another.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from interns.errors import BrokenFile, Incompatible, InvalidInput
from training.pretraining.attribution import attribution_of
from training.pretraining.chats import licence_of_set, read_sets
from training.pretraining.contamination import Examined
from training.pretraining.corpus import SUFFIX as TEXT_SUFFIX
from training.pretraining.corpus import (
    Document,
    group_of,
    licence_of,
    read_documents,
    sources,
    without_duplicates,
)
from training.pretraining.folder import make_folder
from training.pretraining.origin import claim, describe_sets, is_done, mark_done, origin_of, sets_in
from training.pretraining.passages import Passage, cut_passages
from training.pretraining.recipe import Course
from training.pretraining.skills import generate
from training.pretraining.tokenizer import tokenizer_sha256
from training.pretraining.tokens import SUFFIX, TokenFile, load_tokens, tokenize

SKILLS = "generated_skills"
_PASSAGES_OF_ONE_TEXT = 8
_SEEN_BYTES = 16 * 2**20  # of texts a tokenizer learns from, per group


@dataclass(frozen=True)
class Order:
    """What to prepare.

    Attributes:
        corpus: Folder of ``NAME.jsonl.xz`` files.
        sets: Folder of instruction sets, or None for none.
        out: Folder for the token files.
        course: Says how many chats to generate and with which seed.
        part_bytes: Largest sum of the files of one folder; 0 for no limit.
    """

    corpus: Path
    sets: Path | None
    out: Path
    course: Course
    part_bytes: int = 0


@dataclass
class _Source:
    """One source on its way.

    While it is read it leaves out what shares words with exams, counts that, and keeps passages for
    the generated chats.
    """

    name: str
    group: str
    licence: str
    documents: Iterator[Document]
    examined: Examined
    attribution: str = ""
    passages: list[Passage] = field(default_factory=list)
    left_out: int = 0
    shared: Counter[str] = field(default_factory=Counter)  # documents per exam set

    def read(self) -> Iterator[Document]:
        rng = random.Random(f"passages/{self.name}")
        cut = self.group in {"prose", "manuals"}
        for document in self.documents:
            if found := self.examined.found_in(document):
                self.left_out += 1
                self.shared.update(found)
                continue
            if cut and not document.held_out:
                self.passages += cut_passages([document], rng, _PASSAGES_OF_ONE_TEXT)
            yield document

    def told(self) -> str:
        """What was left out, or nothing."""
        sets = ", ".join(f"{name} {count}" for name, count in sorted(self.shared.items()))
        return f"; {self.left_out} left out, which share words with exams ({sets})" if sets else ""


def prepare(
    order: Order,
    tokenizer: Tokenizer,
    report: Callable[[str], None],
    *,
    until: float = float("inf"),
) -> bool:
    """Make the token files that are missing.

    Args:
        order: What to prepare.
        tokenizer: Makes the ids.
        report: Told about every source.
        until: When to stop, on `time.monotonic`'s clock; looked at between sources.

    Returns:
        Whether everything is there now.

    Raises:
        InvalidInput: There is no corpus, none of the known sets, or no folder can be made.
        Incompatible: The folder was made from other sources, or for another recipe or tokenizer.
        BrokenFile: A source is truncated or foreign; finished ones stay.
        NoSpace: The disk is full; finished sources stay.
    """
    origin = origin_of(order.corpus, order.sets, order.course, tokenizer)
    make_folder(order.out)
    claim(order.out, origin)
    if is_done(order.out):
        return True
    report(describe_sets(order.sets))
    seen: set[bytes] = set()
    passages: list[Passage] = []
    examined = Examined(order.sets)
    for source in _listed(order.corpus, order.sets, seen, examined):
        if time.monotonic() > until:
            return False
        _prepare(order, tokenizer, source, report)
        passages += source.passages
    made = generate(order.course.skills, order.course.seed, passages)
    documents = without_duplicates((Document(chat=chat) for chat in made), seen)
    if order.course.skills:
        licence = "made by this project; passages from the sources above"
        skills = _Source(SKILLS, "skills", licence, documents, examined)
        _prepare(order, tokenizer, skills, report)
    mark_done(order.out)
    return True


def load_corpus(folder: Path, tokenizer: Tokenizer) -> tuple[list[TokenFile], str]:
    """All token files below a folder and a fingerprint of them, 64 hex digits.

    Raises:
        InvalidInput: There are none.
        BrokenFile: One is truncated or foreign, or a source is there twice.
        Incompatible: They were made with another tokenizer.
    """
    paths = sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: path.name)
    if not paths:
        raise InvalidInput(f"{folder} holds no token files.", "Prepare the corpus first.")
    files = [load_tokens(path) for path in paths]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BrokenFile(f"{folder} holds {twice} twice.", "Take one of them away.")
    wanted = tokenizer_sha256(tokenizer)
    foreign = [file.name for file in files if file.tokenizer != wanted]
    if foreign:
        raise Incompatible(
            f"{foreign[0]} was prepared with another tokenizer.",
            "Prepare the corpus anew with the recipe's tokenizer.",
        )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + file.ids.tobytes() + file.lengths.tobytes())
    return files, digest.hexdigest()


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds token files rather than texts."""
    return any(folder.rglob(f"*{SUFFIX}")) and not any(folder.glob(f"*{TEXT_SUFFIX}"))


def sample_texts(corpus: Path, sets: Path | None, course: Course) -> Iterator[str]:
    """What a tokenizer learns from: an even share of every group, generated chats included.

    Raises:
        InvalidInput: There is no corpus, or none of the known sets.
        BrokenFile: A source is truncated or foreign.
    """
    sets_in(sets)  # refuses a folder of something else
    seen: set[bytes] = set()
    passages: list[Passage] = []
    listed = list(_listed(corpus, sets, seen, Examined(sets)))
    for source in listed:
        alike = sum(other.group == source.group for other in listed)
        yield from _up_to(source.read(), _SEEN_BYTES // alike)
        passages += source.passages
    made = (Document(chat=chat) for chat in generate(course.skills, course.seed, passages))
    yield from _up_to(made, _SEEN_BYTES // 4)


def _up_to(documents: Iterable[Document], size: int) -> Iterator[str]:
    for document in documents:
        text = document.text or "\n".join(message.content for message in document.chat)
        yield text[:size]
        size -= len(text)
        if size <= 0:
            return


def _listed(
    corpus: Path, sets: Path | None, seen: set[bytes], examined: Examined
) -> Iterator[_Source]:
    """The sources in the order in which they are read."""
    for path in sources(corpus):
        texts = without_duplicates(read_documents(path), seen)
        name = path.name.removesuffix(TEXT_SUFFIX)
        told = licence_of(path)
        by = attribution_of(path, told)
        yield _Source(name, group_of(path), told, texts, examined, by)
    for name, path, chats in read_sets(sets) if sets is not None else ():
        kept = without_duplicates(chats, seen)
        told = licence_of_set(path)
        by = attribution_of(path, told)
        yield _Source(name, "instructions", told, kept, examined, by)


def _prepare(
    order: Order, tokenizer: Tokenizer, source: _Source, report: Callable[[str], None]
) -> None:
    if any(order.out.rglob(f"{source.name}{SUFFIX}")):
        # Read all the same: what comes later must not repeat it, and needs its passages.
        count = sum(1 for _ in source.read())
        report(f"{source.name}: {count} documents, there already{source.told()}")
        return
    # In a dialogue both sides speak as people do; instructions repeat what they ask.
    roles = ("user", "assistant") if source.group == "dialogues" else ("assistant",)
    ids, lengths, learned = tokenize(tokenizer, source.read(), roles)
    file = TokenFile(
        name=source.name,
        group=source.group,
        tokenizer=tokenizer_sha256(tokenizer),
        licence=source.licence,
        ids=ids,
        lengths=lengths,
        learned=learned,
        attribution=source.attribution,
        left_out=source.left_out,
    )
    file.save(order.out)
    _place(order.out / f"{source.name}{SUFFIX}", order.part_bytes)
    made = f"{source.name} ({source.group}): {len(lengths)} documents, {len(ids)} tokens"
    report(made + source.told())


def _place(file: Path, limit: int) -> None:
    """Move a file into the first part that has room for it."""
    if not limit:
        return
    size = file.stat().st_size
    for number in range(1, 1000):
        part = file.with_name(f"part-{number:02}")
        part.mkdir(exist_ok=True)
        held = sum(other.stat().st_size for other in part.iterdir())
        if held == 0 or held + size <= limit:
            file.replace(part / file.name)
            return
