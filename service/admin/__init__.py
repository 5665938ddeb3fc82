"""Routes for operators: traces and dead letters."""
