"""What the engine may keep between requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interns.errors import InvalidInput


@dataclass(frozen=True)
class Budget:
    """MiB for what is not in use at the moment.

    Attributes:
        adapters_mib: Adapters kept loaded, at least 1; never more than 8 adapters.
        prefix_mib: Keys and values of earlier prompts kept in memory; 0 keeps none.
        prefix_folder: Where those that no longer fit go; None is nowhere.
        prefix_disk_mib: How much is kept there; 0 writes nothing.

    Raises:
        InvalidInput: A number is out of range.
    """

    adapters_mib: int = 512
    prefix_mib: int = 256
    prefix_folder: Path | None = None
    prefix_disk_mib: int = 0

    def __post_init__(self) -> None:
        if self.adapters_mib < 1 or self.prefix_mib < 0 or self.prefix_disk_mib < 0:
            raise InvalidInput(
                f"Bad engine setting: adapters_mib={self.adapters_mib}, "
                f"prefix_mib={self.prefix_mib}, prefix_disk_mib={self.prefix_disk_mib}.",
                "Use adapters_mib of 1 or more, prefix_mib and prefix_disk_mib of 0 or more.",
            )
