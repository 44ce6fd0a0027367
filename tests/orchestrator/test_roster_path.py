"""The office tells its engine who is in office, and the engine shares batches when it can."""

from __future__ import annotations

from interns.database import open_database
from interns.paths import Paths
from orchestrator.desk import Desk
from orchestrator.roster import Roster


def test_engine_follows_the_roster(tmp_path):
    paths = Paths(tmp_path).create()
    database = open_database(paths.database)
    desk = Desk(database, paths)
    roster = Roster(desk)
    roster.import_from("facts")
    engine = desk.runtime
    try:
        assert engine.settle() == "swap"
        roster.import_from("guide")
        assert engine.settle() == "switch", engine.stats()["path_reason"]
        roster.import_from("interviewer")
        assert engine.settle() == "switch", engine.stats()["path_reason"]
        assert engine.stats()["adapters_loaded"] == 3
        roster.retire("guide")
        roster.retire("facts")
        assert engine.settle() == "swap"
    finally:
        desk.close()
        database.dispose()
