"""Everything on one machine: a private Redis, the emulator, ingress, worker and a live page."""
