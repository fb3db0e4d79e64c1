"""Varnish's VCL from the section `cdn-shield`, and the section from the VCL.

Each channel has a backend of its own, also where several share an origin: so Varnish counts each channel by itself.
"""

from __future__ import annotations

import json

from nf.contracts.json import canonical, digest
from nf.media.documents import CACHE_KEY_HEADER, ShieldChannel, ShieldSection, endpoint_address, object_prefix
from nf.media.shield.purging import KEEP, RECEIVE, SOFT, URL_HEADER, keys

HEALTH = "/nf/health"
"""A request for it is answered by Varnish itself."""

_HEAD = "# section "
_BETWEEN = "__"  # in neither name, and allowed in VCL
_SEGMENT_TTL = "1h"
_ERROR_TTL = "1s"  # a segment that is asked for too early is there a moment later

_RECEIVE = """\
sub vcl_recv {
  if (req.url == "%(health)s") { return (synth(200, "OK")); }
%(purging)s  if (req.method != "GET" && req.method != "HEAD") { return (synth(405, "Method Not Allowed")); }
  set req.url = regsub(req.url, "\\?.*$", "");
  unset req.http.Cookie;
  unset req.http.Authorization;
%(routes)s  return (synth(404, "Not Found"));
}

%(soft)s
sub vcl_hash {
  hash_data(req.url);
  return (lookup);
}
"""

_FETCHED = """\
sub vcl_backend_response {
  unset beresp.http.Set-Cookie;
  set beresp.http.%(url)s = bereq.url;
  if (beresp.status >= 500) {
    set beresp.ttl = 0s;
    set beresp.uncacheable = true;
    return (deliver);
  }
  if (beresp.status >= 400) {
    set beresp.ttl = %(error_ttl)s;
    set beresp.grace = 0s;
    return (deliver);
  }
  set beresp.ttl = %(segment_ttl)s;
  # What was purged softly is asked for before it is served again.
  set beresp.grace = 0s;
  set beresp.keep = %(keep)s;
%(channels)s}

sub vcl_deliver {
  if (obj.hits > 0) { set resp.http.X-Shield = "hit"; } else { set resp.http.X-Shield = "miss"; }
  unset resp.http.%(key)s;
  unset resp.http.%(url)s;
  # An edge tells what it had before a purge by the date, which is when it asked.
  set resp.http.Date = now;
  unset resp.http.X-Varnish;
}
"""


def render(section: ShieldSection) -> str:
    """The whole VCL. Only the appliance itself may purge."""
    backends = "".join(map(_backend, section.channels)) or "backend none none;\n"
    routes = "".join(map(_route, section.channels))
    return "\n".join(
        (
            f"vcl 4.1;\n{_HEAD}{canonical(section.to_json())}\nimport purge;\nimport xkey;\n",
            backends,
            f'acl purgers {{ "127.0.0.1"; "{section.listen}"; }}\n',
            _RECEIVE % {"health": HEALTH, "routes": routes, "purging": RECEIVE, "soft": SOFT},
            _FETCHED
            % {
                "key": CACHE_KEY_HEADER,
                "url": URL_HEADER,
                "keep": KEEP,
                "channels": "".join(map(_lifetime, section.channels)),
                "segment_ttl": _SEGMENT_TTL,
                "error_ttl": _ERROR_TTL,
            },
        )
    )


def section_of(vcl: str) -> ShieldSection | None:
    """The section that the VCL names; None when it names none. The VCL may still differ from its rendering."""
    for line in vcl.split("\n", 3)[:3]:
        if line.startswith(_HEAD):
            try:
                return ShieldSection.model_validate(json.loads(line.removeprefix(_HEAD)))
            except ValueError:
                return None
    return None


def vcl_name(vcl: str) -> str:
    """What Varnish calls it: equal texts have equal names."""
    return f"nf_{digest(vcl)[:20]}"


def backend_name(channel: str, path: str) -> str:
    return f"{channel}{_BETWEEN}{path}"


def _backend(channel: ShieldChannel) -> str:
    address, port = endpoint_address(channel.endpoint)
    return (
        f"backend {backend_name(channel.channel, channel.path)} {{\n"
        f'  .host = "{address}"; .port = "{port}"; .max_connections = 200;\n'
        "  .connect_timeout = 500ms; .first_byte_timeout = 5s; .between_bytes_timeout = 5s;\n}\n"
    )


def _prefix(channel: ShieldChannel) -> str:
    return object_prefix(channel.bucket, channel.channel)


def _route(channel: ShieldChannel) -> str:
    return (
        f'  if (req.url ~ "^{_prefix(channel)}") {{\n'
        f"    set req.backend_hint = {backend_name(channel.channel, channel.path)};\n"
        "    return (hash);\n  }\n"
    )


def _lifetime(channel: ShieldChannel) -> str:
    """A manifest is fresh for half a segment, so that what a player sees is at most one segment old."""
    fresh_ms = channel.segment_ms // 2
    return (
        f'  if (bereq.url ~ "^{_prefix(channel)}") {{\n'
        f"{keys(channel.channel, _prefix(channel))}"
        '    if (bereq.url ~ "\\.(m3u8|mpd)$") {\n'
        f"      set beresp.ttl = {fresh_ms}ms;\n"
        f"      set beresp.grace = {channel.segment_ms}ms;\n"
        f'      set beresp.http.Cache-Control = "public, max-age={max(1, fresh_ms // 1000)}";\n'
        "    }\n  }\n"
    )
