"""A task's way through the office, durable at every step.

    route → retrieve → draft → check → propose → approve → act
      │  nobody fits ────────────────────┘   ↑        │
      └────────── a human names an intern ───│────────┤
                                             └────────┘ outcome unknown

LangGraph keeps where a run stands; the ledger keeps what was decided and done.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from sqlalchemy.exc import OperationalError

from interns.database import write_session
from interns.errors import InternsError, NotFound, Unavailable
from orchestrator import ledger
from orchestrator.clock import now_text
from orchestrator.desk import Desk
from orchestrator.nodes.act import act
from orchestrator.nodes.approve import approve
from orchestrator.nodes.check import check
from orchestrator.nodes.draft import draft
from orchestrator.nodes.propose import propose
from orchestrator.nodes.retrieve import retrieve
from orchestrator.nodes.route import route
from orchestrator.nodes.state import TaskState
from orchestrator.queue import leased
from orchestrator.records import begin_run, fail_task, has_ended, save_step
from orchestrator.tables import RunRow, TaskRow

Node = Callable[[TaskState, Desk], tuple[TaskState, str]]
Driven = Literal["ended", "parked", "busy", "later"]

ATTEMPTS = 3
RECURSION_LIMIT = 100

log = logging.getLogger(__name__)


def build_graph(desk: Desk, saver: SqliteSaver) -> Any:
    """Return the compiled graph; it reads as the diagram above."""
    graph = StateGraph(TaskState)
    for name, node in (
        ("route", route),
        ("retrieve", retrieve),
        ("draft", draft),
        ("check", check),
        ("propose", propose),
        ("act", act),
    ):
        graph.add_node(name, _recorded(name, node, desk))
    graph.add_node("approve", approve)

    def after_approve(state: TaskState) -> str:
        row = ledger.find(desk.engine, state["approval_id"] or 0)
        named = row.kind == "question" and row.status == "responded" and row.decided_intern
        return "route" if named else "act"

    graph.add_edge(START, "route")
    graph.add_conditional_edges("route", _after_route, ["retrieve", "propose"])
    graph.add_edge("retrieve", "draft")
    graph.add_edge("draft", "check")
    graph.add_edge("check", "propose")
    graph.add_conditional_edges("propose", _after_propose, ["approve", "act"])
    graph.add_conditional_edges("approve", after_approve, ["route", "act"])
    graph.add_conditional_edges("act", _after_act, ["propose", END])
    return graph.compile(checkpointer=saver)


class TaskGraph:
    """Drives runs through the graph, one owner each, as often as needed.

    Args:
        desk: What the office works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._connection = sqlite3.connect(
            desk.paths.checkpoints, check_same_thread=False, timeout=30
        )
        # Strict: only plain values are ever read back from a checkpoint.
        strict = JsonPlusSerializer(allowed_msgpack_modules=None)
        self._saver = SqliteSaver(self._connection, serde=strict)
        self._saver.setup()
        self._graph = build_graph(desk, self._saver)
        self._sweep()

    def close(self) -> None:
        """Close the checkpoint file."""
        self._connection.close()

    def drive(self, run_id: str, owner: str) -> Driven:
        """Move a run on until it ends, waits for a human, or must be tried again later."""
        with leased(self._desk.engine, run_id, owner) as mine:
            if not mine:
                return "busy"
            task = begin_run(self._desk.engine, run_id, self._desk.charter.version)
            if task is None:
                return "ended"
            try:
                return self._drive(run_id, task)
            except (Unavailable, OperationalError, sqlite3.OperationalError) as error:
                if not self._give_up(run_id):
                    log.warning("run %s waits: %s", run_id, error)
                    return "later"
                return self._fail(run_id, task, error)
            except Exception as error:
                if not isinstance(error, InternsError):
                    log.exception("run %s failed", run_id)
                return self._fail(run_id, task, error)

    def _sweep(self) -> None:
        """Forget where ended runs stood: a crash may have left them."""
        threads = self._connection.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()
        for (run_id,) in threads:
            if has_ended(self._desk.engine, run_id):
                self._saver.delete_thread(run_id)

    def _drive(self, run_id: str, task: TaskRow) -> Driven:
        config = _config(run_id)
        while True:
            snapshot = self._graph.get_state(config)
            if not snapshot.values:
                self._graph.invoke(_first_state(run_id, task), config, durability="sync")
            elif snapshot.interrupts:
                if not self._resume(config, snapshot):
                    return "parked"
            elif snapshot.next:
                self._graph.invoke(None, config, durability="sync")
            else:
                self._saver.delete_thread(run_id)
                return "ended"

    def _resume(self, config: RunnableConfig, snapshot: Any) -> bool:
        """Go on if the question was decided; False while it is open."""
        waiting = snapshot.interrupts[0]
        approval_id = snapshot.values.get("approval_id") or 0
        try:
            row = ledger.find(self._desk.engine, approval_id)
        except NotFound:  # the database is older than the checkpoint: ask again
            self._graph.update_state(config, {"approval_id": None}, as_node="check")
            return True
        if row.status == "pending":
            return False
        answer: Command[Any] = Command(resume={waiting.id: {"approval_id": approval_id}})
        self._graph.invoke(answer, config, durability="sync")
        return True

    def _give_up(self, run_id: str) -> bool:
        with write_session(self._desk.engine) as db:
            run = db.get_one(RunRow, run_id)
            run.attempts += 1
            return run.attempts >= ATTEMPTS

    def _fail(self, run_id: str, task: TaskRow, error: Exception) -> Driven:
        assert task.id is not None, "it was read from the database"  # noqa: S101 - invariant
        fail_task(self._desk.engine, task.id, run_id, error)
        self._saver.delete_thread(run_id)
        return "ended"


def _recorded(name: str, node: Node, desk: Desk) -> Any:
    def step(state: TaskState) -> TaskState:
        started, at = time.monotonic(), now_text()
        changes, told = node(state, desk)
        data = {"node": name, "seconds": time.monotonic() - started, "text": told, "began": at}
        save_step(desk.engine, state["task_id"], state["run_id"], data)
        return changes

    return step


def _after_route(state: TaskState) -> str:
    return "propose" if state["intern"] is None else "retrieve"


def _after_propose(state: TaskState) -> str:
    return "act" if state["approval_id"] is None else "approve"


def _after_act(state: TaskState) -> str:
    return END if state.get("ended") else "propose"


def _config(run_id: str) -> RunnableConfig:
    return {
        "configurable": {"thread_id": run_id},
        "max_concurrency": 1,
        "recursion_limit": RECURSION_LIMIT,
    }


def _first_state(run_id: str, task: TaskRow) -> TaskState:
    assert task.id is not None, "it was read from the database"  # noqa: S101 - our own invariant
    return {
        "task_id": task.id,
        "run_id": run_id,
        "text": task.text,
        "requested": task.requested_intern,
        "knowledge": task.knowledge,
        "effect_kind": task.effect_kind,
        "effect_target": task.effect_target,
        "approval_id": None,
        "trouble": "",
        "attempt": 0,
        "ended": "",
    }
