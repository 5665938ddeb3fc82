"""The whole queue in one bounded document, for consoles."""
