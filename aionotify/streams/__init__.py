"""The streams of this node, from the first byte to the last. Knows neither Redis nor tokens."""
