"""Carrying the metadata of one GGUF file over into another, with its types."""

from __future__ import annotations

from collections.abc import Callable

from gguf import GGUFReader, GGUFValueType, GGUFWriter


def copy_metadata(
    source: GGUFReader, writer: GGUFWriter, named: Callable[[str], str | None]
) -> None:
    """Write every entry of a file into another.

    Args:
        source: The file to read.
        writer: Of the file to write; has written its own ``general.architecture``.
        named: What an entry is to be called; None leaves it out.
    """
    for field in source.fields.values():
        name = named(field.name)
        if name is None or name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
