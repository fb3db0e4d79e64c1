"""RTPengine: relays of media."""
