"""Hostile and unlucky input, by name, against the whole application."""
