"""The output stage of a PoP: feeds in on the tap, (S_pop, G) out to receivers, whichever feed is behind it.

A process of its own (`python -m headend.multicast.output`); it imports little, since it is started within a commit.
"""
