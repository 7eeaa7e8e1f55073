"""Whose a token is, asked of the application that owns the users."""
