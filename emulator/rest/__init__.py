"""The REST API of the service, with its checks."""
