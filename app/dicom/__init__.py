"""What the standard says, as pure functions: no HTTP, SQL, sockets or settings."""
