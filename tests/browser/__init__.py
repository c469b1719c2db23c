"""OHIF, as it is published, in a real browser on a real archive."""
