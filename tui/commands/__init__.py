"""Commands, one file per verb group; each has `register(app)`."""
