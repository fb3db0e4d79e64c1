"""The uplink classifier (TS 23.501 clause 5.6.4.2): rules that send a UE's traffic for the CDN to the edge UPF."""
