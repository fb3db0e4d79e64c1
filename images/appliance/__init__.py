"""What happens on the box itself: its data, its seed, its console. Runs as root at boot; knows no NOC."""
