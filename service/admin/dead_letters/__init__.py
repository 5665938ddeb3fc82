"""Dead letters over HTTP: list, count, show, replay, purge."""
