"""Static entries of the kernel's multicast forwarding cache beside the daemon that owns it: pinned channels."""
