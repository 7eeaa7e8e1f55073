"""A package, so that another distribution's stray top-level `tests` cannot take its name."""
