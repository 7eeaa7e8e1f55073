"""What is told of a node: logs, counters, health."""
