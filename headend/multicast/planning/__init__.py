"""The IPTV tree on paper: groups, trees, who fits, what a loss would do, and the sections that come of it. Pure."""
