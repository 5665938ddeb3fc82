"""The hub protocols that clients of the emulator speak: JSON and MessagePack."""
