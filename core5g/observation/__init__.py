"""Interception observation points of the 5G core: a process beside the network functions that only `lawful_intercept`
may ask (`nf.contracts.interception`).

It runs wherever a UPF, an SMF or an AMF stands, target or not, and follows all sessions alike; what is not of a target
leaves no trace, neither inside nor outside of the process.
"""
