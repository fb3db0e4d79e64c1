"""The front of an edge: Caddy, which speaks HTTP/3, HTTP/2 and HTTP/1.1 over TLS to receivers."""
