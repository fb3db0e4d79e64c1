"""Where a contribution comes in: SRT, RIST or UDP, with a backup that takes over when the primary falls silent."""
