"""Connections to Redis: one server, Sentinel or Cluster. Knows no queue."""
