"""One call's signalling, as it passes a proxy: read for a limited time, told as a ladder."""
