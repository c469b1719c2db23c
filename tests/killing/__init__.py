"""The killing test: clients store, processes die, nothing that was acknowledged is lost."""
