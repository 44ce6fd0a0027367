"""The colours of the screens: calm, and readable without them."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="interns",
    primary="#6cb6a8",
    secondary="#8aa4d6",
    accent="#d9b36c",
    warning="#e0a458",
    error="#e07a72",
    success="#8fc27a",
    foreground="#dcdfe4",
    background="#16191d",
    surface="#1d2126",
    panel="#262b31",
    dark=True,
)
