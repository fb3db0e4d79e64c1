"""HI2 and HI3: PS-PDUs of ETSI TS 102 232-1 with the contents of TS 102 232-5 and 3GPP TS 33.128. Codecs, no I/O."""
