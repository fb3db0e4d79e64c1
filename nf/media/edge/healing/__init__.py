"""Shields that hang, die or fail are left alone within a second: a process beside Traffic Server, and its machine."""
