"""X2 and X3 (ETSI TS 103 221-2): codec, the point's client, mediation's server."""
