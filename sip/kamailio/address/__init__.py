"""Floating addresses of proxies: keepalived, and what tells it whether the proxy is well."""
