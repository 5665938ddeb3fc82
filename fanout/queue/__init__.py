"""The queue in Redis streams. The only room that knows Redis."""
