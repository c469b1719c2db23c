"""Use cases, one function per PS3.18 transaction. No HTTP, no SQL."""
