"""Kamailio: proxy, registrar and router of calls."""
