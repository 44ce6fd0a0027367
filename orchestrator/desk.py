"""What the office works with: database, roster, engine, router, documents. Loaded when needed."""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import current_base
from interns.charter import Charter
from interns.errors import Incompatible, InternsError, InvalidInput, NotFound
from interns.intern import Intern
from interns.paths import Paths
from interns.registry import InternRegistry
from interns.runtime.port import Runtime
from interns.settings import PROJECT_FILE, Settings
from interns.skill import Skill
from orchestrator.effects import EffectHandler
from orchestrator.effects.outbox import OutboxHandler
from orchestrator.effects.webhook import WebhookHandler
from orchestrator.lazy import Lazy

if TYPE_CHECKING:
    from orchestrator.routing import Route, Router
    from retrieval.embedder import Embedder
    from retrieval.hit import Hit
    from retrieval.index import KnowledgeIndex

log = logging.getLogger(__name__)


class Desk:
    """Shared by the graph's nodes, by chat and by the API; safe to use from any thread.

    Args:
        engine: The office's open database.
        paths: Its data directory.
        effects: Handlers by kind; None gives outbox and webhook.
    """

    def __init__(
        self, engine: Engine, paths: Paths, effects: Mapping[str, EffectHandler] | None = None
    ) -> None:
        self.engine = engine
        self.paths = paths
        self.effects: Mapping[str, EffectHandler] = effects or {
            "file": OutboxHandler(paths.outbox),
            "webhook": WebhookHandler(lambda: self.settings.effects.webhooks),
        }
        self.llm: Lazy[Runtime] = Lazy("model", self._load_runtime)
        self.embedder: Lazy[Embedder] = Lazy("embedding model", self._load_embedder)
        self.index: Lazy[KnowledgeIndex] = Lazy("knowledge index", self._load_index)
        self._settings: tuple[tuple[int, int], Settings] | None = None
        self._router: tuple[tuple[str, ...], Router] | None = None
        self._router_lock = threading.Lock()
        self._base: BaseModelRef | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force; a changed file counts at once."""
        changed = (_changed_ns(self.paths), _changed_ns(None))
        if self._settings is None or self._settings[0] != changed:
            self._settings = (changed, Settings.load(self.paths))
        return self._settings[1]

    @property
    def charter(self) -> Charter:
        """The charter in force."""
        return Charter(self.settings.charter.mission)

    @property
    def base(self) -> BaseModelRef:
        """The base in use; `use_base` changes it."""
        if self._base is None:
            self._base = current_base(self.settings, self.paths)
        return self._base

    @property
    def registry(self) -> InternRegistry:
        """The roster."""
        return InternRegistry(self.engine, self.paths, self.base)

    def use_base(self, base: BaseModelRef, record: Callable[[], object]) -> None:
        """Serve another base from now on.

        It is loaded before the present one is let go, so that any failure leaves that in use.
        Answers in progress on the present one end with `Unavailable`.

        Args:
            base: The new base.
            record: Makes the choice permanent; what it raises changes nothing.

        Raises:
            InternsError: It cannot be loaded or recorded.
        """
        runtime = self._make_runtime(base)
        try:
            before = self.llm.replace(runtime)
        except BaseException:
            runtime.close()
            raise
        try:
            record()
        except BaseException:
            self.llm.replace(before)
            runtime.close()
            raise
        self._base = base
        self.roster_changed()  # it may have changed while the base was loaded
        if before is not None:
            before.close()

    @property
    def runtime(self) -> Runtime:
        """The model, loading it when needed."""
        return self.llm.get()

    def worker(self, name: str) -> Intern:
        """Return the intern that a person named.

        Raises:
            InvalidInput: Nobody in office has that name; the nearest one is suggested.
            Incompatible: It was trained on another base than the one in use.
        """
        try:
            intern = self.registry.get(name)
        except NotFound as error:
            known = [intern.name for intern in self.registry.list()]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            raise InvalidInput(
                error.message, f"Did you mean {near[0]!r}?" if near else error.fix
            ) from error
        if intern.state == "retired":
            raise InvalidInput(
                f"{name!r} is retired.", f"Bring it back: `interns promote {name} VERSION`."
            )
        if not self.serves(intern):
            raise self._waits(intern)
        return intern

    def _waits(self, intern: Intern) -> Incompatible:
        """What to tell about an intern whose version in office needs another base."""
        name, version = intern.name, intern.version
        there = version.base_name or version.adapter.base_sha256[:12]
        trained = [v.number for v in self.registry.versions(name) if self._on_base(v.adapter)]
        here = (
            f"put its version for this one in office: `interns promote {name} {trained[-1]}`"
            if trained
            else f"train {name} on this one: `interns teach {name} --base {self.base.name}`"
        )
        return Incompatible(
            f"{name!r} v{version.number} was trained on the base {there}; the one in use is "
            f"{self.base.name}.",
            f"Go back to it: `interns bases use {there}`, or {here}.",
        )

    def _on_base(self, adapter: Adapter) -> bool:
        return adapter.base_sha256 == self.base.sha256

    def serves(self, intern: Intern) -> bool:
        """Whether an intern can answer on the base in use."""
        return self._on_base(intern.version.adapter)

    def able(self) -> list[Intern]:
        """Return the interns in office that can answer on the base in use."""
        return [intern for intern in self.registry.list() if self.serves(intern)]

    def at_version(self, name: str, number: int) -> Intern:
        """Return an intern as it was when a task was given to it."""
        intern = self.registry.get(name)
        if intern.version.number == number:
            return intern
        pinned = next(v for v in self.registry.versions(name) if v.number == number)
        return replace(intern, version=pinned)

    def route(self, text: str, knowledge: str | None = None) -> Route:
        """Return who should do this, or nobody, with the scores.

        Args:
            text: What the person wrote.
            knowledge: Collection of documents; None looks into all of them.
        """
        return self.router().route(text, self._fit_of_documents(text, knowledge))

    def router(self) -> Router:
        """Return a router fitted on the interns in office, fitting it anew when they changed."""
        from orchestrator.routing import Router

        interns = self.able()
        key = tuple(f"{i.name}@{i.version.adapter.sha256}" for i in interns)
        key += (str(self.settings.routing.threshold),)
        with self._router_lock:
            if self._router is None or self._router[0] != key:
                router = Router(self.embedder.get(), threshold=self.settings.routing.threshold)
                router.fit(
                    {i.name: i.exemplars for i in interns},
                    {i.name: i.profile.role for i in interns},
                )
                self._router = (key, router)
            return self._router[1]

    def search(self, query: str, collection: str | None, limit: int = 5) -> list[Hit]:
        """Return the best passages of a collection, or of all when None."""
        from retrieval.search import search

        index = self.index.get()
        names = [collection] if collection else [str(c["name"]) for c in index.list()]
        hits = [hit for name in names for hit in search(index, query, name, limit)]
        return sorted(hits, key=lambda hit: -hit.similarity)[:limit] if len(names) > 1 else hits

    def similar(self, question: str, lines: Sequence[str]) -> Sequence[float]:
        """Return the cosine between a question and each line, in [-1, 1]."""
        vectors = self.embedder.get().embed([question, *lines])
        return [float(value) for value in vectors[1:] @ vectors[0]]

    def _fit_of_documents(self, text: str, knowledge: str | None) -> dict[str, float]:
        """How near the best passage is, for every intern that answers from documents."""
        from retrieval.stored import list_collections

        readers = [i.name for i in self.able() if i.profile.skill is Skill.ANSWER]
        if not readers or not list_collections(self.engine):
            return {}
        hits = self.search(text, knowledge)
        best = max((hit.similarity for hit in hits), default=-1.0)
        return dict.fromkeys(readers, best)

    def warm(self) -> None:
        """Load the model in the background, and the embedding model when it will be needed."""
        self.llm.warm()
        if self.registry.list():
            self.embedder.warm()

    def close(self) -> None:
        """Free the model if it was loaded."""
        runtime = self.llm.peek()
        if runtime is not None:
            runtime.close()

    def roster_changed(self) -> None:
        """Tell the model who is in office, if it is loaded."""
        runtime = self.llm.peek()
        if runtime is not None:
            self._introduce(runtime, self.base)

    def _introduce(self, runtime: Runtime, base: BaseModelRef) -> None:
        try:
            adapters = [intern.version.adapter for intern in self.registry.list()]
        except InternsError as error:  # a damaged version: everyone else is answered all the same
            log.warning("the model is not told who is in office: %s", error)
            return
        ours = [adapter for adapter in adapters if adapter.base_sha256 == base.sha256]
        runtime.set_roster(ours, self.paths.rosters)

    def _load_runtime(self) -> Runtime:
        return self._make_runtime(self.base)

    def _make_runtime(self, base: BaseModelRef) -> Runtime:
        chosen = self.settings.engine
        if chosen.url:
            from interns.runtime.openai_runtime import remote_runtime

            return remote_runtime(base, chosen)
        from interns.runtime.llama_cpp.budget import Budget
        from interns.runtime.llama_cpp.engine import LlamaEngine

        runtime = LlamaEngine(
            base,
            context_tokens=chosen.context_tokens,
            slots=chosen.slots,
            queue=chosen.queue,
            budget=Budget(
                adapters_mib=chosen.adapters_mib,
                prefix_mib=chosen.prefix_mib,
                prefix_folder=self.paths.prefixes,
                prefix_disk_mib=chosen.prefix_disk_mib,
            ),
            path=chosen.path,
            **chosen.computing,
        )
        try:
            self._introduce(runtime, base)
        except BaseException:
            runtime.close()
            raise
        return runtime

    def _load_embedder(self) -> Embedder:
        from retrieval.embedder import Embedder

        return Embedder(self.settings.retrieval.model)

    def _load_index(self) -> KnowledgeIndex:
        from retrieval.index import KnowledgeIndex

        chosen = self.settings.retrieval
        return KnowledgeIndex(
            self.engine,
            self.paths.vectors,
            self.embedder.get(),
            chunk_tokens=chosen.chunk_tokens,
            overlap_tokens=chosen.overlap_tokens,
        )


def _changed_ns(paths: Paths | None) -> int:
    file = PROJECT_FILE if paths is None else paths.config
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
