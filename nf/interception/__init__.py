"""What observation points of all domains share: the frames on their sockets, what waits there, and the caller's end."""
