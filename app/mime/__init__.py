"""Media types and multipart bodies (PS3.18 §8.6, §8.7)."""
