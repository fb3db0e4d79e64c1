"""Lawful intercept: from a warrant to the agency (ETSI TS 103 221, TS 102 232, TS 103 120; 3GPP TS 33.128).

It stands apart from everything else: its own processes, users, certificates, store and command `nf-li`. An ADMF tasks
points of interception and mediation over X1; points deliver X2 and X3 to mediation; mediation hands over HI2 and HI3.
"""
