"""The multicast tree's gate: which (S, G) may cross this router, and how each of them flows."""
