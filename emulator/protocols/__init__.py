"""The hub protocols: JSON and MessagePack."""
