"""X1: tasks and destinations, between an ADMF and its network elements (ETSI TS 103 221-1), XML over HTTPS."""
