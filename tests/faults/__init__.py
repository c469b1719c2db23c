"""Faults at every step of ingest and removal, each by its name."""
