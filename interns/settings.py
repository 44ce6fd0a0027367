"""Settings: flags over ``INTERNS_*`` variables over project over user file over default.

Read once by an entry point and handed down as plain values. ``interns.toml`` in the working
directory is the project's file; ``config.toml`` in the data directory is the user's.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tomlkit.exceptions import TOMLKitError

from interns.errors import InvalidInput
from interns.paths import Paths

PROJECT_FILE = Path("interns.toml")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class CharterSettings(_Section):
    """The organisation, in every intern's prompt."""

    mission: str = Field(default="", max_length=600, description="What the organisation is for.")


class SharedBaseSettings(_Section):
    """The model all interns share."""

    name: str = Field(default="starter", description="Name of the base in use.")


class DaemonSettings(_Section):
    """The office's own process."""

    port: int = Field(default=0, ge=0, le=65535, description="Loopback port; 0 takes any free one.")


class EngineSettings(_Section):
    """llama.cpp."""

    context_tokens: int = Field(
        default=4096, ge=256, le=131072, description="Tokens of the KV cache."
    )
    slots: int = Field(default=8, ge=1, le=64, description="Requests answered at the same time.")
    queue: int = Field(default=64, ge=1, le=10000, description="Requests that may wait; then busy.")
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads; 0 picks by the machine."
    )
    gpu_layers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="Layers on the GPU; auto is all where there is one."
    )
    path: Literal["auto", "swap", "switch"] = Field(
        default="auto",
        description="How interns share the base: swap by turns, switch in one batch; auto picks.",
    )
    exact: bool = Field(
        default=False,
        description="Keys, values and attention in 32 bits: twice the memory, less rounding.",
    )
    adapters_mib: int = Field(
        default=512, ge=1, le=1_048_576, description="MiB of adapters kept loaded, at most 8."
    )
    prefix_mib: int = Field(
        default=256, ge=0, le=1_048_576, description="MiB of earlier prompts kept in memory."
    )
    prefix_disk_mib: int = Field(
        default=256, ge=0, le=1_048_576, description="MiB of them kept on disk; 0 writes none."
    )
    url: str = Field(
        default="", description="OpenAI-compatible endpoint ending in /v1; empty is the own engine."
    )
    model: str = Field(default="", description="What the endpoint calls the base; empty: its name.")
    token_variable: str = Field(
        default="INTERNS_REMOTE_TOKEN", description="Environment variable with its token."
    )

    @property
    def computing(self) -> dict[str, Any]:
        """What changes the numbers an answer is made of: keywords of `LlamaEngine`.

        Whoever verifies takes these from the office, or it verifies another engine than serves.
        """
        return self.model_dump(include={"threads", "gpu_layers", "exact"})


class RetrievalSettings(_Section):
    """Documents and embeddings."""

    model: str = Field(
        default="", description="Embedding model: hub name or folder; empty is packaged."
    )
    chunk_tokens: int = Field(default=200, ge=20, le=2000, description="Words per passage, about.")
    overlap_tokens: int = Field(default=40, ge=0, le=500, description="Words shared by neighbours.")


class RoutingSettings(_Section):
    """Which intern takes a task."""

    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Below it nobody is chosen; empty is fitted."
    )


class EffectsSettings(_Section):
    """What may leave the office."""

    webhooks: tuple[str, ...] = Field(default=(), description="URL prefixes a webhook may post to.")


class AutonomySettings(_Section):
    """When a human is asked."""

    default: Literal["ask always", "ask when unsure", "ask never"] = Field(
        default="ask always", description="For interns past probation."
    )


class Settings(_Section):
    """All settings of an office; unknown keys are refused."""

    charter: CharterSettings = CharterSettings()
    base: SharedBaseSettings = SharedBaseSettings()
    daemon: DaemonSettings = DaemonSettings()
    engine: EngineSettings = EngineSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    routing: RoutingSettings = RoutingSettings()
    effects: EffectsSettings = EffectsSettings()
    autonomy: AutonomySettings = AutonomySettings()

    @classmethod
    def load(cls, paths: Paths) -> Settings:
        """Read all sources.

        Raises:
            InvalidInput: A file is no TOML, a key is unknown or a value out of range; all
                problems are named at once.
        """
        merged: dict[str, Any] = {}
        for file in (paths.config, PROJECT_FILE):
            _merge(merged, _read_toml(file))
        _merge(merged, _from_environment(os.environ))
        return _validated(merged, "settings")


def get_value(paths: Paths, key: str) -> Any:
    """Return the value in force of a dotted key such as ``charter.mission``."""
    section, name = _split(key)
    return getattr(getattr(Settings.load(paths), section), name)


def source_of(paths: Paths, key: str) -> str:
    """Return where the value in force of `key` comes from."""
    section, name = _split(key)
    if f"INTERNS_{section}_{name}".upper() in os.environ:
        return "environment"
    if name in _read_toml(PROJECT_FILE).get(section, {}):
        return str(PROJECT_FILE)
    return str(paths.config) if name in _read_toml(paths.config).get(section, {}) else "default"


def set_value(paths: Paths, key: str, text: str) -> Any:
    """Write one user setting, keeping the file's comments, and return the value.

    Raises:
        InvalidInput: The key is unknown or the value does not fit; nothing is written.
    """
    section, name = _split(key)
    value = _parse(text, multiple=isinstance(getattr(getattr(Settings(), section), name), tuple))
    _validated({section: {name: value}}, key)
    _read_toml(paths.config)  # a broken file is reported, not overwritten
    paths.create()
    source = paths.config.read_text(encoding="utf-8") if paths.config.exists() else ""
    document = tomlkit.parse(source)
    table = document.setdefault(section, tomlkit.table())
    table[name] = value
    partial = paths.config.with_suffix(".partial")
    partial.write_text(tomlkit.dumps(document), encoding="utf-8")
    partial.replace(paths.config)
    return value


def computing_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `EngineSettings.computing` as it was written down; what is missing is the default.

    Raises:
        InvalidInput: A key is unknown or a value out of range.
    """
    return _validated({"engine": values}, "engine settings").engine.computing


def keys() -> list[tuple[str, str, Any]]:
    """Return every dotted key with its sentence and default."""
    defaults = Settings()
    return [
        (f"{section}.{name}", field.description or "", getattr(getattr(defaults, section), name))
        for section in Settings.model_fields
        for name, field in type(getattr(defaults, section)).model_fields.items()
    ]


def _split(key: str) -> tuple[str, str]:
    known = [name for name, _, _ in keys()]
    if key not in known:
        raise InvalidInput(f"No setting is called {key!r}.", f"Known: {', '.join(known)}.")
    section, _, name = key.partition(".")
    return section, name


def _parse(text: str, *, multiple: bool) -> Any:
    if multiple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TOMLKitError) as error:
        raise InvalidInput(
            f"{file} is not valid TOML: {error}.", f"Edit or remove {file}."
        ) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, _, default in keys():
        section, _, name = key.partition(".")
        text = environment.get(f"INTERNS_{section}_{name}".upper())
        if text is not None:
            found.setdefault(section, {})[name] = _parse(text, multiple=isinstance(default, tuple))
    return found


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for section, values in new.items():
        if isinstance(values, Mapping):
            into.setdefault(section, {}).update(values)
        else:
            into[section] = values


def _validated(values: Mapping[str, Any], what: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}"
            for issue in error.errors()
        )
        raise InvalidInput(
            f"Invalid {what}: {problems}.", "See `interns config get` for every key."
        ) from error
