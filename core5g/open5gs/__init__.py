"""Open5GS, managed: its functions, its networks, its subscribers."""
