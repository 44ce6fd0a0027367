"""The client's calls about bases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import from_body

Json = dict[str, Any]


class BaseCalls(ABC):
    """What an `OfficeClient` can ask about bases."""

    @abstractmethod
    def _list(self, path: str, params: Mapping[str, Any] | None = None) -> list[Json]: ...

    @abstractmethod
    def _post(self, path: str, body: Json | None = None, **options: Any) -> Json: ...

    @abstractmethod
    def _stream(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Json]: ...

    def bases(self) -> list[Json]:
        """Return the bases that are here, then the recommended ones that are not.

        Fields: here, name, sha256, bytes, path, in_use, verified, family, file_type, licence.
        """
        return self._list("/api/bases")

    def pull_base(
        self,
        source: str,
        *,
        name: str = "",
        file_type: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Json]:
        """Fetch, convert and check a base, telling how far it is; the last event is ``done``.

        Close the iterator to stop; the same call goes on from there.

        Args:
            source: A recommended name, a hub repository, a folder or a GGUF file.
            name: What to call it; empty makes one.
            file_type: ``Q8_0``, ``Q4_K_M``, ``F16`` or ``F32``; empty is the default.
            environment: The hub's settings, such as HF_TOKEN.
        """
        place = Path(source).expanduser()
        body = {
            "source": str(place.absolute()) if place.exists() else source,
            "name": name,
            "file_type": file_type,
            "environment": dict(environment or {}),
        }
        return self._told("/api/bases/pull", body)

    def verify_base(self, name: str = "") -> Iterator[Json]:
        """Compare a base, the one in use by default, in llama.cpp and torch; ends with ``done``."""
        return self._told("/api/bases/verify", {"name": name})

    def use_base(self, name: str) -> Json:
        """Serve and train with another base from now on; return it.

        Raises:
            GateNotMet: It was not verified.
        """
        return self._post("/api/bases/use", {"name": name}, timeout=None)

    def teach(self, name: str, *, base: str) -> Json:
        """Train an intern's next version on another base from its stored data; return the run.

        Raises:
            NotFound: Its data are gone or were never here.
        """
        return self._post(f"/api/interns/{name}/teach", {"base": base})

    def _told(self, path: str, body: Json) -> Iterator[Json]:
        """Stream events and raise the one that is an error."""
        for event in self._stream("POST", path, body=body):
            if event.get("event") == "error":
                raise from_body(event)
            yield event
