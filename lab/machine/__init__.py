"""A whole machine as a part of a lab: qemu with firmware, Secure Boot, a TPM and a serial console.

Its network cards stand in the place of a node's interfaces. It boots what would be flashed onto hardware; nothing in it
knows that it is emulated.
"""
