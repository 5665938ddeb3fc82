"""`POST /v1/hubs/{hub}/messages`: a batch in, 202 when it is durable."""
