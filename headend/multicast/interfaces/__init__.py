"""The data plane's interfaces: addresses, link state and the kernel's forwarding switches."""
