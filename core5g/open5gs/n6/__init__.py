"""Where the packets of UEs come out of the UPF: its TUN devices, and the default exit of N6."""
