"""Mediation (MDF2 and MDF3): X2 and X3 of the points in, HI2 and HI3 to each agency out.

    X2, X3 --> intake --> rules, CIN, numbers --> spool of a destination and kind --> delivery --> agency
                 ^ answered when durable             ^ encrypted, bounded               one task each

What one agency does, or does not, changes nothing for another nor for the points.
"""
