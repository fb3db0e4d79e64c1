"""MODELS of a 5G core for the lab: a UPF, an SMF, stand-ins for the other functions, a gNB with its UEs.

No package registry carries an Open5GS binary, so tests run against these. They do what recorded Open5GS daemons did on
the wire, mistakes included, and nothing of them is proof of what a real one does: `tests/core5g/conformance` runs
against both. Nothing here is shared with `core5g`, so that a mistake of one does not hide in the other.
"""

MODEL = "MODEL (StreamVerse NF lab, no Open5GS)"
