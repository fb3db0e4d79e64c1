"""What of the VCL is about purging: keys by which objects are found, and methods that only the appliance may use.

PURGE          one object, away
SOFTPURGE      one object, to be asked for with its validator
PURGEKEYS      all objects with one of the keys in the header, away
SOFTPURGEKEYS  likewise, to be asked for with their validators
"""

from __future__ import annotations

from nf.media.documents import CACHE_KEY_HEADER
from nf.media.purge.tags import INIT, RENDITION, Kind

URL_HEADER = "nf-url"
"""What a stored object says of itself: bans that look at nothing else are tested in the background (ban lurker)."""

KEEP = "10m"
"""So long an object that was purged softly, and that nobody has asked for, is kept for the sake of its validator."""

RECEIVE = f"""\
  unset req.http.nf-soft;
  if (req.method ~ "^(SOFT)?PURGE(KEYS)?$") {{
    if (client.ip !~ purgers) {{ return (synth(403, "Forbidden")); }}
    if (req.method == "PURGE") {{ return (purge); }}
    if (req.method == "SOFTPURGE") {{
      set req.http.nf-soft = "1";
      set req.method = "GET";
      return (hash);
    }}
    if (req.method == "PURGEKEYS") {{
      set req.http.nf-purged = xkey.purge(req.http.{CACHE_KEY_HEADER});
    }} else {{
      set req.http.nf-purged = xkey.softpurge(req.http.{CACHE_KEY_HEADER});
    }}
    return (synth(200, "Purged " + req.http.nf-purged));
  }}
"""

SOFT = """\
sub vcl_hit {
  if (req.http.nf-soft) { purge.soft(0s, 0s, -1s); return (synth(200, "Purged")); }
}

sub vcl_miss {
  if (req.http.nf-soft) { purge.soft(0s, 0s, -1s); return (synth(404, "Not in the cache")); }
}
"""


def keys(channel: str, prefix: str) -> str:
    """Statements that give an object of the channel its keys: the tags of `nf.media.purge.tags`."""
    header = f"beresp.http.{CACHE_KEY_HEADER}"
    pattern = f"^{prefix}({RENDITION})(/.*|\\.m3u8)$"
    return (
        f'    set beresp.http.nf-kind = ":{Kind.SEGMENT}";\n'
        f'    if (bereq.url ~ "\\.(m3u8|mpd)$") {{ set beresp.http.nf-kind = ":{Kind.MANIFEST}"; }}\n'
        f'    elsif (bereq.url ~ "/{INIT}[^/]*$") {{ set beresp.http.nf-kind = ":{Kind.INIT}"; }}\n'
        f'    set {header} = "{channel} {channel}" + beresp.http.nf-kind;\n'
        f'    if (bereq.url ~ "{pattern}" && bereq.url !~ "^{prefix}(master|manifest)\\.m3u8$") {{\n'
        f'      set beresp.http.nf-rendition = "{channel}/" + regsub(bereq.url, "{pattern}", "\\1");\n'
        f'      set {header} = {header} + " " + beresp.http.nf-rendition + " "\n'
        "        + beresp.http.nf-rendition + beresp.http.nf-kind;\n"
        "      unset beresp.http.nf-rendition;\n"
        "    }\n"
        "    unset beresp.http.nf-kind;\n"
    )
