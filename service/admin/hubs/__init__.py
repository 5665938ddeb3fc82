"""Questions of operators about one hub, passed through to the service, and the closing of all its connections."""
