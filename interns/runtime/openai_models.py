"""Whom an endpoint answers for, and how a request asks for one of them.

vLLM and another office list an intern among their models. llama-server lists its adapters apart, by
their files, and each request says how much of which is put on the base; unless told otherwise it puts
all of them on, and takes up keys and values that it computed under others.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import PurePath
from typing import Any

import httpx

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.errors import Incompatible, NotFound
from interns.runtime.endpoint import Endpoint, Over
from interns.runtime.llama_cpp.adapters import verify_adapter
from interns.runtime.openai_answers import read_error

Json = dict[str, Any]

_KNOWN_BY = 3  # parts of the path that tell a version: triage/v1/adapter.gguf


class Models:
    """The base and the interns as an endpoint knows them. Safe to use from any thread.

    Args:
        far: The endpoint.
        base: The base that it serves.
        name: What it calls the base; empty means as we do.
    """

    def __init__(self, far: Endpoint, base: BaseModelRef, name: str) -> None:
        self._far = far
        self._base = base
        self._name = name or base.name
        self._found: set[str] = set()
        self._verified: set[Adapter] = set()
        self._lists_files = True

    def asked_for(self, adapter: Adapter | None, over: Over) -> Json:
        """Return the fields of a request that ask for an intern, or for the base.

        Raises:
            Unavailable: What `over` returned, among others.
            NotFound: The endpoint does not serve it.
            Incompatible: The adapter belongs to another base, or has no name.
            InternsError: As the endpoint says.
        """
        if adapter and not adapter.name:
            raise Incompatible(
                "A remote engine knows interns by name, and this adapter has none.",
                "Register it as an intern first.",
            )
        if adapter and adapter not in self._verified:
            verify_adapter(adapter, self._base)
            self._verified.add(adapter)
        files = self._files(over)
        if adapter and not files:
            fix = (
                f"Serve that version there: its peft folder as {adapter.name}, or on llama-server "
                "its adapter.gguf by --lora."
            )
            self._look_up(adapter.name, fix, over)
            return {"model": adapter.name}
        fix = f"Set engine.model to what the base {self._base.name} is called there."
        self._look_up(self._name, fix, over)
        if not files:
            return {"model": self._name}
        return {
            "model": self._name,
            "lora": _put_on(files, adapter, self._far.url),
            "cache_prompt": False,
        }

    def _files(self, over: Over) -> list[Json]:
        """The adapters of a llama-server; asked each time, for when it starts anew they may change."""
        if not self._lists_files:
            return []
        response = self._far.ask(self._far.url.removesuffix("/v1") + "/lora-adapters", over=over)
        if response.is_server_error:
            raise read_error(response)
        files = _read_files(response)
        self._lists_files = files is not None
        return files or []

    def _look_up(self, name: str, fix: str, over: Over) -> None:
        """Refuse a name that the far end does not list, where it lists any."""
        if name in self._found:
            return
        with self._far.told():
            response = self._far.ask("/models", over=over)
            if response.is_error and response.status_code != HTTPStatus.NOT_FOUND:
                raise read_error(response)
            listed = None if response.is_error else _read_names(response.json())
        if listed is not None and name not in listed:
            raise NotFound(
                f"The endpoint {self._far.url} does not serve {name!r}, but "
                f"{', '.join(listed) or 'nothing'}.",
                fix,
            )
        self._found.add(name)


def _read_names(body: Json) -> list[str]:
    """The names of a list of models; llama-server has one model, and other names for it."""
    names = [
        name for model in body["data"] for name in (model["id"], *(model.get("aliases") or ()))
    ]
    return list(dict.fromkeys(map(str, names)))


def _read_files(response: httpx.Response) -> list[Json] | None:
    """The adapters that are listed, or None where no such list is known."""
    if response.is_error:
        return None
    try:
        return [{"id": int(each["id"]), "path": str(each["path"])} for each in response.json()]
    except (ValueError, LookupError, TypeError):
        return None


def _put_on(files: list[Json], adapter: Adapter | None, url: str) -> list[Json]:
    """How much of each adapter is put on the base: all of one intern's, nothing of any other."""
    chosen, scale = None, 0.0
    if adapter:
        end, scale = adapter.path.parts[-_KNOWN_BY:], adapter.scale
        ids = (each["id"] for each in files if PurePath(each["path"]).parts[-_KNOWN_BY:] == end)
        chosen = next(ids, None)
        if chosen is None:
            raise NotFound(
                f"The endpoint {url} has no adapter {PurePath(*end)}, but "
                f"{', '.join(each['path'] for each in files)}.",
                f"Start it with --lora {adapter.path} besides.",
            )
    return [{"id": each["id"], "scale": scale if each["id"] == chosen else 0.0} for each in files]
