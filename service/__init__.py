"""The top floor: the HTTP front door, the process and the command line."""
