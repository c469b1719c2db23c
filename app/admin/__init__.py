"""Health, metrics and pages for people."""
