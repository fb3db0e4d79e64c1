"""DVB-I (ETSI TS 103 770): one service list of all the ways by which a channel is received."""
