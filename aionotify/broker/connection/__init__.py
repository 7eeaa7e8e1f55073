"""Connections to Redis, and how commands and replies travel; not what they mean."""
