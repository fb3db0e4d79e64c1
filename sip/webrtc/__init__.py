"""The WebRTC edge: Janus and coturn."""
