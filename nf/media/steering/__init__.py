"""Content Steering: players are told which pathway of a channel to take, from what is known of the paths now."""
