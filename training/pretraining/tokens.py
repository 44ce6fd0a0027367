"""Token files: one source, tokenized, in one file that is whole or absent.

``NAME.npz.xz`` holds the ids of all documents one after another. Vocabularies have at most 32,768
tokens, so one bit of each 16-bit number is free: it is set where a token is read but not learned
(the questions of an instruction set).
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from interns.errors import BrokenFile
from interns.gguf.writing import whole_file
from training.pretraining.chat import BOS, LEARNED, segments
from training.pretraining.corpus import Document

SUFFIX = ".npz.xz"
UNLEARNED = 0x8000
_BATCH = 2000  # documents tokenized at once
_PRESET = 3  # of xz: the same size within some percent as the slowest, several times faster

Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class TokenFile:
    """One source.

    Attributes:
        name: Of the source.
        group: Its part of the mixture.
        tokenizer: Hash of the tokenizer.
        licence: As stated by the source.
        ids: Of all documents, those to learn from first; see `UNLEARNED`.
        lengths: Tokens per document.
        learned: Number of documents to learn from; the others are held out.
        attribution: Whose texts they are, as Markdown.
        left_out: Documents that shared words with exams; None where nobody looked.
    """

    name: str
    group: str
    tokenizer: str
    licence: str
    ids: Ids
    lengths: npt.NDArray[np.uint32]
    learned: int
    attribution: str = ""
    left_out: int | None = None

    def save(self, folder: Path) -> None:
        """Write it.

        Raises:
            NoSpace: The disk is full; nothing half-written is left under the name.
        """
        facts: dict[str, Any] = {
            "group": self.group,
            "tokenizer": self.tokenizer,
            "licence": self.licence,
        }
        facts |= {"learned": self.learned, "left_out": self.left_out}
        about = json.dumps(facts | {"attribution": self.attribution}).encode()
        held = io.BytesIO()
        np.savez(held, ids=self.ids, lengths=self.lengths, about=np.frombuffer(about, np.uint8))
        with whole_file(folder / f"{self.name}{SUFFIX}") as partial:
            partial.write_bytes(lzma.compress(held.getbuffer(), preset=_PRESET))


def load_tokens(path: Path) -> TokenFile:
    """Read a token file.

    Raises:
        BrokenFile: It is truncated or something else.
    """
    try:
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes())), allow_pickle=False) as parts:
            about: Mapping[str, Any] = json.loads(parts["about"].tobytes())
            ids, lengths = parts["ids"], parts["lengths"]
            file = TokenFile(
                name=path.name.removesuffix(SUFFIX),
                group=str(about["group"]),
                tokenizer=str(about["tokenizer"]),
                licence=str(about["licence"]),
                ids=ids,
                lengths=lengths,
                learned=int(about["learned"]),
                attribution=str(about.get("attribution", "")),
                left_out=about.get("left_out"),
            )
        fits = ids.dtype == np.uint16 and int(lengths.sum()) == len(ids)
    except (lzma.LZMAError, ValueError, KeyError, OSError, EOFError) as error:
        raise BrokenFile(
            f"{path.name} is truncated or no token file: {error}.", _anew(path)
        ) from error
    if not fits:
        raise BrokenFile(f"The parts of {path.name} do not fit together.", _anew(path))
    return file


def tokenize(
    tokenizer: Tokenizer, documents: Iterable[Document], roles: Sequence[str] = LEARNED
) -> tuple[Ids, npt.NDArray[np.uint32], int]:
    """Token ids of documents.

    Args:
        tokenizer: Makes the ids.
        documents: Texts and chats.
        roles: Whose turns are learned in a chat.

    Returns:
        All ids with their `UNLEARNED` bits, tokens per document, and the number of documents to
        learn from, which come first.
    """
    kept: tuple[list[Ids], list[Ids]] = ([], [])
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == _BATCH:
            _tokenize(tokenizer, batch, kept, roles)
            batch = []
    _tokenize(tokenizer, batch, kept, roles)
    learned, held_out = kept
    everything = [*learned, *held_out]
    lengths = np.array([len(ids) for ids in everything], dtype=np.uint32)
    empty: Ids = np.zeros(0, dtype=np.uint16)
    return np.concatenate([empty, *everything]), lengths, len(learned)


def _anew(path: Path) -> str:
    return (
        f"Delete {path} and give the same command again, which makes it anew from the texts; "
        "if only the token files are here, fetch it again."
    )


def _tokenize(
    tokenizer: Tokenizer,
    batch: list[Document],
    kept: tuple[list[Ids], list[Ids]],
    roles: Sequence[str],
) -> None:
    parts = [_parts(document, roles) for document in batch]
    texts = [text for document in parts for text, _ in document]
    found = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    for document, pieces in zip(batch, parts, strict=True):
        ids = [
            np.array(next(found).ids, dtype=np.uint16) | (0 if learn else UNLEARNED)
            for _, learn in pieces
        ]
        kept[document.held_out].append(np.concatenate(ids).astype(np.uint16))


def _parts(document: Document, roles: Sequence[str]) -> list[tuple[str, bool]]:
    if document.chat:
        return segments(document.chat, roles)
    return [(BOS, False), (document.text, True)]
