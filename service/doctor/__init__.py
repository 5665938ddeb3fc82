"""`fanout doctor`: proves against a real service what delivery relies on."""
