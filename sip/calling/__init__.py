"""Synthetic calls: a SIP user agent, RTP measured, and what people would think of the sound."""
