"""A strict local stand-in for Azure SignalR Service; knows `fanout.signalr` and nothing else of ours."""
