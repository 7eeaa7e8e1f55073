"""The version, for all who tell it: the package itself, its metadata, and the metrics."""

__version__ = "0.1.0"
