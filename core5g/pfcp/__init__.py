"""PFCP (TS 29.244) between SMF and UPF, and GTP-U (TS 29.281) on N3 and N9. Nothing here does I/O or reads a clock."""
