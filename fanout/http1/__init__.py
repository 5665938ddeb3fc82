"""A strict HTTP/1.1 client over asyncio and httptools. Knows no SignalR."""
