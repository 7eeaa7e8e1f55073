"""Webhooks: what is posted to the application over HTTP, signed, and to public addresses only."""
