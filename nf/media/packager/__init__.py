"""The packager: a contribution becomes CMAF with HLS and DASH, and is uploaded to the origin."""
