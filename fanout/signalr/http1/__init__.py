"""A small, strict HTTP/1.1 client for one origin: request in, status, headers and bounded body out."""
