"""Steering at N6: policy routing or destination NAT of the CDN's traffic behind the UPF's TUN devices."""
