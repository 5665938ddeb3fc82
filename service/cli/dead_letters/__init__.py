"""`fanout dead-letters`: list, count, show, replay, purge."""
