"""Reads what Functions and backends send: the output binding's JSON, widened. Knows no HTTP."""
