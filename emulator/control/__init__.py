"""What tests and people ask of the emulator: faults, quota, journal."""
