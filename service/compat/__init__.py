"""The routes that speak the REST API of the service itself, for programs that already call it."""
