"""The PostgreSQL index; the only package that speaks SQL."""
