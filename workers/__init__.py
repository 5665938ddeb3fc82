"""The first floor: takes entries from the queue and delivers them to the SignalR service."""
