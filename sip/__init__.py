"""The voice core: Kamailio, RTPengine, FreeSWITCH and the WebRTC edge as one managed function."""
