"""Apache Traffic Control: a client of Traffic Ops, API 5.0. We read what it knows and hand it purges and states."""
