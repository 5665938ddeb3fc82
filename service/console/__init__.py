"""The page for operators: figures, pauses, dead letters and traces in a browser."""
