"""Rows about interns. Versions and tenures are only ever added, never changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, UniqueConstraint
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


def now() -> datetime:
    """Return the present moment, UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Stores moments as UTC and gives them back with their zone, which SQLite forgets."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Convert to naive UTC for storage."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Any) -> datetime | None:
        """Attach UTC to what was stored."""
        return value.replace(tzinfo=UTC) if value else None


class InternRow(SQLModel, table=True):
    """A name that was onboarded once; it is never given to another intern."""

    __tablename__: ClassVar[str] = "intern"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, index=True)
    created_at: datetime = Field(default_factory=now, sa_column=Column(UtcDateTime, nullable=False))


class VersionRow(SQLModel, table=True):
    """One trained state of an intern."""

    __tablename__: ClassVar[str] = "version"
    __table_args__ = (
        UniqueConstraint("intern_id", "number"),
        UniqueConstraint("intern_id", "adapter_sha256"),
    )
    id: int | None = Field(default=None, primary_key=True)
    intern_id: int = Field(foreign_key="intern.id", index=True)
    number: int
    adapter_sha256: str
    base_sha256: str
    folder: str = Field(description="Relative to the data directory.")
    source: str = Field(description="onboard, import or teach")
    exam: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=Column(UtcDateTime, nullable=False))


class TenureRow(SQLModel, table=True):
    """Who is in office since when; the newest row of an intern counts."""

    __tablename__: ClassVar[str] = "tenure"
    id: int | None = Field(default=None, primary_key=True)
    intern_id: int = Field(foreign_key="intern.id", index=True)
    version_id: int = Field(foreign_key="version.id")
    state: str = Field(description="probation, office or retired")
    reason: str = Field(description="registered, promoted, rolled back or retired")
    at: datetime = Field(default_factory=now, sa_column=Column(UtcDateTime, nullable=False))
