"""A private Valkey server, for machines that have no Redis."""
