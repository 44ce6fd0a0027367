"""Does the draft hold, and must a human see it?"""

from __future__ import annotations

from typing import Any

from interns.errors import InternsError
from orchestrator.autonomy import ruling_for
from orchestrator.check import problems_of
from orchestrator.desk import Desk
from orchestrator.nodes.state import TaskState


def check(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Check form and citations, then decide whether to ask."""
    intern = desk.at_version(str(state["intern"]), state["version"] or 1)
    problems = problems_of(intern.profile, state["draft"])
    problems += [told for c in state["citations"] if (told := _citation_problem(desk, c))]
    ruling = ruling_for(
        intern, desk.settings, confidence=state.get("confidence"), problems=problems
    )
    told = f"{len(problems)} problems: {'; '.join(problems)}" if problems else "holds"
    return {"problems": problems, "ask": ruling.ask, "why": ruling.why}, told


def _citation_problem(desk: Desk, citation: dict[str, Any]) -> str:
    from retrieval.citation import resolve

    try:
        stored = resolve(desk.engine, citation["document_id"], citation["start"], citation["end"])
    except InternsError as error:
        return f"citation [{citation['n']}] does not resolve: {error.message}"
    return "" if stored == citation["quote"] else f"citation [{citation['n']}] differs"
