"""Reads what Azure Functions and other backends send: the JSON of the output binding, widened. Knows no HTTP."""
