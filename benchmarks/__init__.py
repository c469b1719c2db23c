"""The archive and its peer side by side; `python -m benchmarks --help` says how."""
