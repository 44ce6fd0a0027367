"""Small questions: one line, a longer text, or yes and no. Escape always leaves everything as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, TextArea

from tui.model.diff import summary
from tui.widgets.rows import Row, RowList


class AskLine(ModalScreen[str | None]):
    """Asks for one line; an empty one is not taken.

    Args:
        question: What is asked.
        hint: What else to know.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave as it was")]

    def __init__(self, question: str, hint: str = "") -> None:
        super().__init__()
        self._question, self._hint = question, hint

    def compose(self) -> ComposeResult:
        """Lay out question and field."""
        with Vertical(classes="dialog"):
            yield Label(self._question, markup=False)
            yield Input(compact=True)
            yield Label(f"enter sends  esc leaves it  {self._hint}", classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the line back."""
        if event.value.strip():
            self.dismiss(event.value.strip())


class EditText(ModalScreen[str | None]):
    """Lets a person change a draft; ctrl+s sends it.

    Args:
        title: What will happen with the text.
        text: The draft.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "send", "Approve this text", priority=True),
        Binding("escape", "dismiss(None)", "Leave as it was", priority=True),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """Lay out title, text and what changed."""
        with Vertical(classes="dialog"):
            yield Label(self._title, markup=False)
            yield TextArea(self._text, soft_wrap=True)
            yield Label("nothing changed", id="changes", markup=False)
            yield Label("ctrl+s approves this text  esc leaves it", classes="hint")

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Say how much is changed."""
        self.query_one("#changes", Label).update(summary(self._text, event.text_area.text))

    def action_send(self) -> None:
        """Give the text back."""
        text = self.query_one(TextArea).text
        if text.strip():
            self.dismiss(text)


class Confirm(ModalScreen[bool]):
    """Asks before something that others will notice; only ``y`` says yes.

    Args:
        question: What would happen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Lay out the question."""
        with Vertical(classes="dialog"):
            yield Label(self._question, markup=False)
            yield Label("y yes  n no", classes="hint")


class Pick(ModalScreen[str | None]):
    """Asks for one of a few rows.

    Args:
        question: What is asked.
        rows: What to choose from.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Leave as it was")]

    def __init__(self, question: str, rows: Sequence[Row]) -> None:
        super().__init__()
        self._question, self._rows = question, rows

    def compose(self) -> ComposeResult:
        """Lay out question and rows."""
        with Vertical(classes="dialog"):
            yield Label(self._question, markup=False)
            yield RowList(empty="Nothing to choose from.")
            yield Label("enter takes it  esc leaves it", classes="hint")

    def on_mount(self) -> None:
        """Show the rows."""
        rows = self.query_one(RowList)
        rows.show_rows(self._rows)
        rows.focus()

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """Give the chosen row's key back."""
        self.dismiss(event.key)
