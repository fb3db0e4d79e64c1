"""Open5GS managed: what its functions are to be, their lives as units, the UPF's TUN devices and default N6."""
