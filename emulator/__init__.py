"""A strict local emulator of Azure SignalR Service. It shares `fanout.signalr` with the product and nothing else."""
