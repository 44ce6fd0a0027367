"""Errors of the knowledge index beyond those of `interns.errors`.

BrokenFile
└── VectorStoreBroken    Chroma's folder can not be read or written; it heals from SQL
"""

from __future__ import annotations

from interns.errors import BrokenFile


class VectorStoreBroken(BrokenFile):
    """Chroma's folder is missing parts, corrupt or foreign. Nothing of value is lost."""

    code = "vector_store_broken"
