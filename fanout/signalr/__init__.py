"""What Azure SignalR Service speaks. Nothing in this room knows Redis."""
