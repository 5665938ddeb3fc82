"""`POST /{hub}/negotiate`: sends clients to the service."""
