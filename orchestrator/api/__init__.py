"""The office over HTTP, on loopback, for everybody with the token."""
