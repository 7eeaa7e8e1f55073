"""Whose a token is, read from the token itself."""
