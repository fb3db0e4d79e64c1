"""A MODEL of FreeSWITCH for the lab, and a softphone that judges it.

No package registry carries a FreeSWITCH binary, so tests run against this: `bin/freeswitch` takes its arguments and its
configuration, speaks its event socket, SIP and RTP. It does on the wire what the documents and public sources of
FreeSWITCH say, and nothing of it is proof of what a real one does: the conformance suite of `sip` runs against both.
Nothing here is shared with `sip`, so that a mistake of one does not hide in the other.
"""

MODEL = "MODEL (StreamVerse NF lab, no FreeSWITCH)"
VERSION = "1.10.12-model"
"""Version that is told: of the FreeSWITCH which is modelled, and that it is a model."""
