import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel, select

import interns.tables
import orchestrator.tables
import retrieval.tables
from interns.database import (
    current_revision,
    head_revision,
    open_database,
    session,
    write_session,
)
from interns.errors import BrokenFile, Incompatible
from interns.tables import InternRow

TABLE_MODULES = (interns.tables, orchestrator.tables, retrieval.tables)


def test_migrations_match_the_table_modules(tmp_path):
    engine = open_database(tmp_path / "office.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda _o, name, kind, *_: (
                    not (kind == "table" and str(name).startswith("chunks_fts"))
                )
            },
        )
        assert compare_metadata(context, SQLModel.metadata) == []
    assert current_revision(engine) == head_revision() != ""
    assert TABLE_MODULES


def test_connections_use_wal_timeout_and_foreign_keys(tmp_path):
    engine = open_database(tmp_path / "office.db")
    with engine.connect() as connection:
        asked = ("journal_mode", "busy_timeout", "foreign_keys")
        found = [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in asked]
    assert found == ["wal", 30_000, 1]


def test_newer_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "office.db"
    open_database(path).dispose()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Incompatible, match="newer version"):
        open_database(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "office.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(BrokenFile, match="cannot be used"):
        open_database(path)


def test_failed_session_leaves_nothing(tmp_path):
    engine = open_database(tmp_path / "office.db")
    with pytest.raises(RuntimeError), write_session(engine) as db:
        db.add(InternRow(name="half"))
        db.flush()
        raise RuntimeError
    with session(engine) as db:
        assert db.exec(select(InternRow)).all() == []


def test_write_sessions_wait_for_each_other(tmp_path):
    engine = open_database(tmp_path / "office.db")
    with write_session(engine) as db:
        db.add(InternRow(name="counter"))

    def rename() -> None:
        for _ in range(20):
            with write_session(engine) as db:
                row = db.exec(select(InternRow)).one()
                row.name += "x"
                db.add(row)

    threads = [threading.Thread(target=rename) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with session(engine) as db:
        assert len(db.exec(select(InternRow)).one().name) == len("counter") + 80
