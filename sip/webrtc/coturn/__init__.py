"""coturn: STUN and TURN for browsers."""
