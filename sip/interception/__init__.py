"""Interception observation point of the voice core: a process beside a proxy that only `lawful_intercept` may ask
(`nf.contracts.interception`).

It runs wherever a proxy stands, target or not. Orders live in its memory; what the proxy has to know of them it is told
by RPC, and nothing that others may ask of the proxy or of a relay shows it.
"""
