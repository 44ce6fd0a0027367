"""Who the interns are, the base they share, and the engine they answer with."""
