"""The fields of an onboarding, one line each."""

from __future__ import annotations

from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label

from tui.model.columns import columns_of
from tui.model.form import FIELDS, SKILLS


class Form(Vertical):
    """Eight fields. Column names are suggested once the data file is known."""

    DEFAULT_CSS = "Form { height: auto; }"

    def compose(self) -> ComposeResult:
        """Lay out the fields."""
        for field in FIELDS:
            with Horizontal(classes="field"):
                yield Label(field.label, markup=False)
                suggester = SuggestFromList(SKILLS) if field.name == "skill" else None
                yield Input(
                    placeholder=field.hint,
                    id=f"field-{field.name}",
                    compact=True,
                    suggester=suggester,
                )

    @property
    def values(self) -> dict[str, str]:
        """What is filled in, by field name."""
        return {field.name: self._input(field.name).value.strip() for field in FIELDS}

    def fill(self, values: dict[str, str]) -> None:
        """Put values into fields."""
        for name, value in values.items():
            self._input(name).value = value

    def focus_first(self) -> None:
        """Hand the keys to the first field."""
        self._input(FIELDS[0].name).focus()

    @on(Input.Blurred, "#field-data")
    def suggest_columns(self, event: Input.Blurred) -> None:
        """Name the columns that the data file has."""
        names = columns_of(Path(event.value).expanduser()) if event.value else []
        for field in FIELDS[2:4]:
            column = self._input(field.name)
            column.suggester = SuggestFromList(names) if names else None
            column.placeholder = ", ".join(names) if names else field.hint

    def _input(self, name: str) -> Input:
        return self.query_one(f"#field-{name}", Input)
