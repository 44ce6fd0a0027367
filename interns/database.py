"""One SQLite file, migrated on opening, with short transactions.

WAL lets readers go on while one writer writes; a writer waits up to 30 seconds for another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from interns.errors import BrokenFile, Incompatible

BUSY_TIMEOUT_MS = 30_000
MIGRATIONS = Path(__file__).with_name("migrations")


def open_database(path: Path) -> Engine:
    """Open the database at `path`, create or migrate it, and return its engine.

    Raises:
        Incompatible: The file was written by a newer version of Interns; it is left as it is.
        BrokenFile: The file is no SQLite database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    try:
        _migrate(engine, path)
    except DatabaseError as error:
        engine.dispose()
        raise BrokenFile(
            f"{path} cannot be used as a database: {error.orig}.",
            "Restore a copy of it, or move it away to start with an empty office.",
        ) from error
    except Incompatible:
        engine.dispose()
        raise
    return engine


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """Yield a session that commits at the end and rolls back on an error."""
    with Session(engine, expire_on_commit=False) as opened, opened.begin():
        yield opened


@contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """Like `session`, but takes the write lock first, so that what it reads cannot change."""
    with (
        Session(engine.execution_options(immediate=True), expire_on_commit=False) as opened,
        opened.begin(),
    ):
        yield opened


def head_revision() -> str:
    """Return the newest schema revision this version of Interns knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current_revision(engine: Engine) -> str:
    """Return the schema revision of an open database, empty for a new one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are begun by `_begin`, not by the driver, which would defer the write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Any) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _migrate(engine: Engine, path: Path) -> None:
    current, script = current_revision(engine), ScriptDirectory.from_config(_config())
    known = {revision.revision for revision in script.walk_revisions()}
    if current and current not in known:
        raise Incompatible(
            f"{path} was written by a newer version of Interns (schema {current!r}).",
            "Update Interns, or choose another folder with INTERNS_HOME.",
        )
    if current == script.get_current_head():
        return
    config = _config()
    with engine.execution_options(immediate=True).connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
