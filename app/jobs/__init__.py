"""The queue: what is to be done later, once, whatever dies meanwhile."""
