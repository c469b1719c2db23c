"""The command fileroom."""
