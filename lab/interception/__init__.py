"""Lawful intercept in the lab: its bring-up in the reference network, and the judge of what others can see of it."""
