"""System calls of a running archive, and what their order proves."""
