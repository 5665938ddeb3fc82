"""How clients are connected to the emulator: WebSockets, Server-Sent Events, long polling."""
