"""Steering: what UEs ask of the CDN leaves at the near UPF, to the cache of its site."""
