"""What the services for players and partners share: settings, an HTTP server, and where a client is."""
