"""The process: sockets, signals, workers, reloads, an orderly stop."""
