"""The live tree of a channel: read at every appliance, walked from receiver to source, and where packets vanish."""
