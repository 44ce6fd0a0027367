"""The office: a task becomes a run that humans can trust."""
