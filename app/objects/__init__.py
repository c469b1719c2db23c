"""The bytes: staging and object stores."""
