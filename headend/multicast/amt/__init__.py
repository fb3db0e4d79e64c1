"""Automatic Multicast Tunneling (RFC 7450): multicast for a PoP that only unicast reaches."""
