"""The queue: what it stores in Redis, under which keys, and every operation on it."""
