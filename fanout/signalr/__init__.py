"""The REST API of Azure SignalR Service: messages, routes, tokens and the client. Nothing here knows Redis."""
