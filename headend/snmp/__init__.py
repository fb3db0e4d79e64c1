"""SNMP (RFC 3411-3418): a fast poller with kept sessions, SET, notifications, and what real agents make of it."""
