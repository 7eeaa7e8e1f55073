"""What a node reports: logs, counters, health."""
