"""Is everything here that the office needs? Each finding comes with a command that fixes it.

Works without a daemon: ``python -m orchestrator.doctor --json``. It changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psutil

from interns.bases import STARTER, current_base
from interns.database import head_revision
from interns.errors import InternsError
from interns.paths import Paths
from interns.settings import Settings
from orchestrator.launch import find_daemon
from orchestrator.lock import lock_owner

Json = dict[str, Any]
GIB = 1024**3
DISK_WARN, DISK_FAIL = 2 * GIB, GIB // 4
MEMORY_WARN, MEMORY_FAIL = 2 * GIB, GIB // 2
ENDPOINT_S = 10.0


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        status: ``ok``, ``warn`` (works, but…) or ``fail``.
        found: What is there.
        fix: A command or sentence that helps; empty when nothing is to be done.
    """

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


def examine(paths: Paths, settings: Settings) -> list[Json]:
    """Return all findings as plain dictionaries; a check that breaks is a finding itself."""
    checks: tuple[tuple[str, Callable[[Paths, Settings], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("compiler", _compiler),
        ("llama.cpp", _llama),
        ("base", _base),
        ("engine", _engine),
        ("disk", _disk),
        ("memory", _memory),
        ("database", _database),
        ("index", _index),
        ("daemon", _daemon),
    )
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check(paths, settings)
        except InternsError as error:
            found.append(Finding(name, "fail", error.message, error.fix))
        except Exception as error:  # noqa: BLE001 - a doctor reports what it cannot examine
            found.append(Finding(name, "fail", f"{type(error).__name__}: {error}", "make setup"))
    return [asdict(finding) for finding in found]


def main() -> int:
    """Print the findings; 0 when nothing fails, else 4."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.doctor")
    parser.add_argument("--json", action="store_true", help="one array on stdout")
    parser.add_argument("--home", type=Path, help="data directory; default: INTERNS_HOME")
    chosen = parser.parse_args()
    paths = Paths(chosen.home.expanduser().absolute()) if chosen.home else Paths.default()
    try:
        findings = examine(paths, Settings.load(paths))
    except InternsError as error:
        settings_broken = Finding("settings", "fail", error.message, error.fix)
        findings = [asdict(settings_broken), *examine(paths, Settings())]
    if chosen.json:
        sys.stdout.write(json.dumps(findings, ensure_ascii=False) + "\n")
    else:
        for finding in findings:
            sys.stdout.write("{status:4}  {check:12} {found}  {fix}\n".format(**finding))
    return 4 if any(finding["status"] == "fail" for finding in findings) else 0


def _python(_paths: Paths, _settings: Settings) -> Iterator[Finding]:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield Finding(
        "python",
        "ok" if fits else "fail",
        f"Python {version} at {sys.executable}",
        "" if fits else "Install Python 3.11 or 3.12, then `make setup`.",
    )


def _compiler(_paths: Paths, _settings: Settings) -> Iterator[Finding]:
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    install = "Needed to rebuild llama.cpp only: `apt install build-essential cmake`."
    if compiler is None:
        yield Finding("compiler", "warn", "no C++ compiler", install)
    else:
        yield Finding("compiler", "ok", _first_line(compiler, "--version"))
    if shutil.which("cmake") is None:
        yield Finding("cmake", "warn", "no cmake", install)
    else:
        yield Finding("cmake", "ok", _first_line("cmake", "--version"))


def _llama(_paths: Paths, settings: Settings) -> Iterator[Finding]:
    import llama_cpp

    flags = llama_cpp.llama_print_system_info().decode("utf-8", "replace")
    gpu = bool(llama_cpp.llama_supports_gpu_offload())
    backend = next(
        (b for b in ("CUDA", "Metal", "Vulkan", "ROCm") if b.lower() in flags.lower()), ""
    )
    kind = (backend or "GPU") if gpu else "CPU"
    yield Finding("llama.cpp", "ok", f"{llama_cpp.__version__}, backend {kind}: {flags.strip()}")
    if not gpu and shutil.which("nvidia-smi"):
        yield Finding(
            "gpu",
            "warn",
            "an NVIDIA GPU is here, but llama.cpp was built for the CPU",
            "CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-binary :all: "
            "llama-cpp-python",
        )
    if not gpu and isinstance(settings.engine.gpu_layers, int) and settings.engine.gpu_layers > 0:
        yield Finding(
            "gpu",
            "warn",
            f"engine.gpu_layers is {settings.engine.gpu_layers}, but there is no GPU backend",
            "interns config set engine.gpu_layers auto",
        )


def _base(paths: Paths, settings: Settings) -> Iterator[Finding]:
    base = current_base(settings, paths)
    with base.gguf.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        yield Finding(
            "base", "fail", f"{base.gguf} is no GGUF file", "git checkout it, or reinstall"
        )
        return
    size = base.gguf.stat().st_size / 1024**2
    yield Finding("base", "ok", f"{base.name}, {size:.1f} MiB, sha256 {base.sha256[:16]}…")
    shipped = _shipped_base_hashes()
    if base.name == "starter" and shipped and base.sha256 not in shipped:
        yield Finding(
            "base hash",
            "fail",
            "the embedded base is not the one the shipped interns were trained on",
            "git checkout interns/starter, or install Interns again",
        )
    strangers = _interns_of_other_bases(paths, base.sha256)
    if strangers:
        yield Finding(
            "interns",
            "warn",
            f"trained on another base: {', '.join(strangers)}",
            f"interns bases use NAME, or: interns teach INTERN --base {base.name}",
        )


def _engine(paths: Paths, settings: Settings) -> Iterator[Finding]:
    if not settings.engine.url:
        return
    from interns.runtime.openai_runtime import remote_runtime

    base = current_base(settings, paths)
    runtime = remote_runtime(base, settings.engine)
    try:
        runtime.check(ENDPOINT_S)
    finally:
        runtime.close()
    yield Finding("engine", "ok", f"{settings.engine.url} serves {base.name}")


def _shipped_base_hashes() -> set[str]:
    manifests = (STARTER / "interns").glob("*/intern.toml")
    return {tomllib.loads(file.read_text("utf-8"))["base"]["sha256"] for file in manifests}


def _interns_of_other_bases(paths: Paths, sha256: str) -> list[str]:
    if not paths.database.exists():
        return []
    query = (
        "SELECT DISTINCT intern.name FROM version JOIN intern ON intern.id = version.intern_id "
        "WHERE version.base_sha256 != ? ORDER BY intern.name"
    )
    try:
        with closing(_read_only(paths.database)) as database:
            return [row[0] for row in database.execute(query, (sha256,))]
    except sqlite3.Error:
        return []  # the database has a finding of its own


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)


def _disk(paths: Paths, _settings: Settings) -> Iterator[Finding]:
    there = next(p for p in (paths.home, *paths.home.parents) if p.exists())
    free = shutil.disk_usage(there).free
    status: Literal["ok", "warn", "fail"] = "ok"
    if free < DISK_WARN:
        status = "fail" if free < DISK_FAIL else "warn"
    fix = "" if status == "ok" else "Free some space, or move INTERNS_HOME to a larger disk."
    yield Finding("disk", status, f"{free / GIB:.1f} GiB free at {there}", fix)
    if paths.home.exists() and not os.access(paths.home, os.W_OK):
        yield Finding("home", "fail", f"{paths.home} is not writable", f"chmod u+rwx {paths.home}")


def _memory(_paths: Paths, _settings: Settings) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    status: Literal["ok", "warn", "fail"] = "ok"
    if memory.available < MEMORY_WARN:
        status = "fail" if memory.available < MEMORY_FAIL else "warn"
    fix = "" if status == "ok" else "Close other programs before onboarding an intern."
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    yield Finding("memory", status, found, fix)


def _database(paths: Paths, _settings: Settings) -> Iterator[Finding]:
    if not paths.database.exists():
        yield Finding("database", "ok", "none yet; it is made on first use")
        return
    away = f"mv {paths.database} {paths.database}.broken"
    try:
        with closing(_read_only(paths.database)) as database:
            verdict = database.execute("PRAGMA quick_check").fetchone()[0]
            revision = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        yield Finding("database", "fail", f"{paths.database}: {error}", away)
        return
    current, head = (revision[0] if revision else "none"), head_revision()
    if verdict != "ok":
        yield Finding("database", "fail", f"damaged: {verdict}", away)
    elif current == head:
        yield Finding("database", "ok", f"intact, schema {current}")
    else:
        yield Finding(
            "database",
            "warn",
            f"schema {current}, this version knows {head}",
            "An older one is migrated by `interns serve`; for a newer one update Interns.",
        )


def _index(paths: Paths, _settings: Settings) -> Iterator[Finding]:
    if not paths.database.exists():
        yield Finding("index", "ok", "nothing indexed yet")
        return
    try:
        with closing(_read_only(paths.database)) as database:
            chunks = database.execute("SELECT count(*) FROM chunks").fetchone()[0]
    except sqlite3.Error as error:
        yield Finding("index", "fail", str(error), "interns knowledge add PATH --name NAME")
        return
    if chunks and not paths.vectors.exists():
        yield Finding(
            "index",
            "warn",
            f"{chunks} passages, vectors missing",
            "They are made again by the next `interns knowledge search`.",
        )
    else:
        yield Finding("index", "ok", f"{chunks} passages")


def _daemon(paths: Paths, settings: Settings) -> Iterator[Finding]:
    owner, address = lock_owner(paths.lock), find_daemon(paths)
    if address is not None:
        yield Finding("daemon", "ok", f"pid {address.pid} on {address.url}")
    elif owner is not None:
        yield Finding(
            "daemon", "warn", f"pid {owner} holds the lock but does not answer", f"kill {owner}"
        )
    else:
        yield Finding("daemon", "ok", "not running; it starts when a command needs it")
    port = settings.daemon.port
    if port and (address is None or address.port != port):
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        yield Finding(
            "port",
            "fail" if taken else "ok",
            f"{port} is {'taken by another program' if taken else 'free'}",
            "interns config set daemon.port 0" if taken else "",
        )
    if paths.token.exists() and paths.token.stat().st_mode & 0o077:
        yield Finding("token", "fail", "others can read it", f"chmod 600 {paths.token}")


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0] if lines else command[0]


if __name__ == "__main__":
    sys.exit(main())
