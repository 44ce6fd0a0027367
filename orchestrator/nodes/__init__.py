"""The steps of a task, one per file; each takes the state and the desk and returns changes."""
