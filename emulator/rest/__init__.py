"""The emulator's REST side: the data-plane API of the service, checked as strictly as the service checks it."""
