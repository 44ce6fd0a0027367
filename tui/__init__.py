"""The terminal: commands and screens, thin clients of the office."""
