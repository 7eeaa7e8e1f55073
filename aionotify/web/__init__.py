"""The HTTP edge: thin handlers. What they need is handed to them in `Services`."""
