"""FRR's bgpd of one router: prefixes that more than one place originates, taken only when RPKI knows them."""
