"""Files of a hub repository, fetched once, checked, and taken up again where a download broke off.

What is asked for goes through huggingface_hub, so that its settings hold: ``HF_TOKEN``,
``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, proxies and a token saved by its login.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from interns.errors import (
    BrokenFile,
    Incompatible,
    InternsError,
    NeedsHuman,
    NoSpace,
    NotFound,
    Unavailable,
)

_WANTED = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    "tokenizer.model",
    *("model.safetensors", "model-*-of-*.safetensors", "LICENSE*"),
)
_NEEDED = ("config.json", "tokenizer_config.json")
_CHUNK = 1 << 20

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Attributes:
        name: Path in the repository.
        size: Bytes.
        sha256: Hash of a large file, else empty.
        blob: Git's hash of a small file, else empty.
    """

    name: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Repository:
    """What a repository holds that a base needs."""

    name: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def look_up(name: str, revision: str = "") -> Repository:
    """Ask the hub which files a base has.

    Raises:
        NotFound: There is no such repository or revision.
        NeedsHuman: Its licence must be accepted, or a token is missing or not enough.
        Incompatible: It holds no safetensors or no tokenizer.json.
        Unavailable: The hub cannot be reached, or downloads are switched off.
    """
    from huggingface_hub import HfApi

    with _clear_errors(name):
        info = HfApi().model_info(name, revision=revision or None, files_metadata=True)
    found = [
        HubFile(one.rfilename, int(one.size or 0), _lfs(one), str(one.blob_id or ""))
        for one in info.siblings or ()
        if "/" not in one.rfilename and any(fnmatch(one.rfilename, each) for each in _WANTED)
    ]
    names = {file.name for file in found}
    missing = [need for need in _NEEDED if need not in names]
    if not names & {"tokenizer.json", "tokenizer.model"}:
        missing.append("tokenizer.json")
    if missing or not any(each.endswith(".safetensors") for each in names):
        raise Incompatible(
            f"{name} holds no {missing[0] if missing else 'safetensors weights'}.",
            "Choose a repository with config.json, tokenizer.json and safetensors.",
        )
    return Repository(name, str(info.sha), tuple(sorted(found, key=lambda file: file.size)))


def download(repository: Repository, folder: Path, report: Report) -> None:
    """Fetch every file that is not there yet, go on with a broken-off one, and check all hashes.

    Args:
        repository: As `look_up` found it.
        folder: Where to; a file appears under its name only when it is whole and right.
        report: Called with a file's name, bytes there and bytes in all.

    Raises:
        NeedsHuman: The licence must be accepted first.
        Unavailable: The connection broke and did not come back; the same call goes on from there.
        BrokenFile: A file arrived with another hash; it is deleted.
        NoSpace: The disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours = {name for file in repository.files for name in (file.name, _part(folder, file).name)}
    for old in folder.iterdir():  # of another commit
        if old.name not in ours:
            old.unlink()
    done = 0
    for file in repository.files:
        target = folder / file.name
        if not (target.is_file() and target.stat().st_size == file.size and _right(target, file)):
            _fetch(repository, file, folder, _Progress(file.name, done, repository.size, report))
        done += file.size
        report(file.name, done, repository.size)


def require_room(folder: Path, needed: int, what: str) -> None:
    """Refuse before the first byte is fetched when the disk cannot hold the base.

    Raises:
        NoSpace: Fewer than `needed` bytes are free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(
            f"{what} needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free at {folder}.",
            "Free some space or move the data directory (INTERNS_HOME), then run the same again.",
        )


@dataclass(frozen=True)
class _Progress:
    name: str
    before: int
    total: int
    report: Report

    def __call__(self, here: int) -> None:
        self.report(self.name, self.before + here, self.total)


class _Growing(io.BufferedWriter):
    """A file that tells how long it has become."""

    progress: _Progress | None = None

    def write(self, data: Any) -> int:
        written = super().write(data)
        if self.progress:
            self.progress(self.tell())
        return written


def _part(folder: Path, file: HubFile) -> Path:
    return folder / f"{file.name}.{(file.sha256 or file.blob)[:12]}.part"


def _fetch(repository: Repository, file: HubFile, folder: Path, progress: _Progress) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    part = _part(folder, file)
    part.touch()
    have = part.stat().st_size
    if have > file.size:
        part.unlink()
        part.touch()
        have = 0
    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    with _clear_errors(repository.name), _Growing(io.FileIO(part, "r+b")) as growing:
        growing.seek(have)
        growing.progress = progress
        # hf_hub_download would throw away what a killed process had fetched.
        http_get(
            url,
            growing,
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=file.size,
        )
    if not _right(part, file):
        part.unlink()
        raise BrokenFile(
            f"{file.name} of {repository.name} arrived damaged: its hash is not the hub's.",
            "Run the same command again; this file is fetched anew.",
        )
    part.replace(folder / file.name)


def _right(path: Path, file: HubFile) -> bool:
    """Whether the content is what the hub says it is."""
    if path.stat().st_size != file.size:
        return False
    if not file.sha256 and not file.blob:
        return True
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
    if not file.sha256:  # git hashes a header before the content
        digest.update(f"blob {file.size}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == (file.sha256 or file.blob)


def _lfs(sibling: Any) -> str:
    return str(sibling.lfs.sha256) if sibling.lfs else ""


@contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Say what the hub's errors mean and what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise Unavailable(
            "Downloads are switched off by HF_HUB_OFFLINE.",
            "Unset it and run the same again, or give a local folder or GGUF file.",
        ) from error
    except errors.HFValidationError as error:
        raise NotFound(f"{name!r} cannot name a repository.", "Write owner/name.") from error
    except errors.HfHubHTTPError as error:
        raise _answered(name, error) from error
    except OSError as error:
        if "consistency check" in str(error).lower():
            raise _unreachable(name, error) from error
        raise
    except Exception as error:
        if type(error).__module__.startswith("httpx"):  # the connection, whichever client is used
            raise _unreachable(name, error) from error
        raise


def _answered(name: str, error: Any) -> InternsError:
    """What a refusal of the hub means."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError) or error.response.status_code == 403:
        return _gated(name)
    if isinstance(error, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
        return NotFound(
            f"The hub has no repository {name}, or it is private.",
            "Check its name; for a private one set HF_TOKEN.",
        )
    return _gated(name) if error.response.status_code == 401 else _unreachable(name, error)


def _gated(name: str) -> NeedsHuman:
    return NeedsHuman(
        f"{name} is gated: its maker gives it to people who accepted the licence.",
        f"Accept it on the repository's page, make a token that may read it, and run "
        f"`HF_TOKEN=… interns bases pull {name}`.",
    )


def _unreachable(name: str, error: Exception) -> Unavailable:
    told = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Unavailable(
        f"{name} could not be fetched whole: {told}.",
        "Run the same command again; it goes on where it stopped.",
    )
