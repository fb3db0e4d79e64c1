"""The PoP's side of a carrier: services out of the receiver's multiplex, each to its group, or from its fallback.

A process of its own (`python -m headend.satellite.feed`); it imports little, since it is started within a commit.
"""
