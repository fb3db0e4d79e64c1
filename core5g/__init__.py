"""The 5G core at the edge: Open5GS managed, PFCP, and mobile traffic for the CDN steered to the PoP's own cache."""
