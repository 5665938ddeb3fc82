"""The ground floor: values, the SignalR protocol and the queue, shared by workers and service."""

__version__ = "0.2.0"
