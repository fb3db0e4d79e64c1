"""A CDN path as a transport stream: HLS/CMAF is followed at an edge and sent on, steadily, for who stands beside it.

One process for each channel (`python -m nf.media.intake`); its driver is `stream-intake`.
"""
