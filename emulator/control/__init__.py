"""The control of the emulator: faults, quota, journal."""
