"""Northbound: CAMARA's Traffic Influence API, version 0.10.0 (release r1.3), as a service of the NOC."""
