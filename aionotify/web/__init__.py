"""The HTTP edge: thin handlers, which get the parts of an instance in `Services`."""
