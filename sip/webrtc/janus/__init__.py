"""Janus: browsers' rooms and calls."""
