"""The satellite link: its arithmetic, and what to do when the weather changes. The modules below do no I/O."""
