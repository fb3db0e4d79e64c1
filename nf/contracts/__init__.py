"""The Protocols that domains meet: driver, probe, planner, units of the supervisor.

Domains import these and the document models, never the engine, the control plane or another domain.
"""
