"""The transports of clients: WebSockets, Server-Sent Events, long polling."""
