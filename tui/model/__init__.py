"""What screens and commands show, as pure functions: no Textual, no network."""
