"""The edge towards subscribers: snooping bridges, what each port may receive and how much it may ask for."""
