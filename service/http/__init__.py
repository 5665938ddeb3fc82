"""All that is HTTP and not particular to one route: callers, bodies, problem documents, probes."""
