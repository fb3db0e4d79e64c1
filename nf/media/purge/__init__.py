"""What is taken out of the caches: the message, what it selects, the proof, and who may send it."""
