"""Subscribers of the 5G core: what people write about them, their keys, bulk import, `nf subscriber`."""
