"""Addresses that several caches have at once: each is announced from where the cache is well, and from nowhere else."""
