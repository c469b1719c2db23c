"""OpenID Connect: bearer tokens of a provider, and the login of a browser at it."""
