"""The PoP's monitor: what comes in of each watched flow, measured by the batch."""
