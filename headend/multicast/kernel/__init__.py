"""IPTV multicast for a small PoP without routing daemons: the kernel's table, our own IGMPv3 querier and proxy."""
