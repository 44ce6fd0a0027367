"""How interns answer: the port and its back ends."""
