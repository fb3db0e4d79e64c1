"""Traffic Server's configuration files from the section `cdn-edge`, and the section from the files.

Requests never go to an address that stands in remap.config: they go to a name that has parents (parent.config), which
keeps name resolution out of the way of every request. The loaded remap table says which configuration it belongs to:
a request for CONFIG_HOST is answered with a redirect to a name that holds its digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nf.contracts.json import canonical, digest
from nf.media.documents import CongestionControl, EdgeChannel, EdgeSection, object_prefix

CONFIG_HOST = "config.nf.invalid"
SHIELD_HOST = "shield.nf.invalid"
USER = GROUP = "trafficserver"
PROGRAMS = Path("/usr/bin")
MODULES = Path("/usr/lib/trafficserver/modules")
REMAP = "remap.config"
MULTICERT = "ssl_multicert.config"
RESTART_FILES = frozenset({"records.config", "storage.config", "plugin.config"})
"""Files that Traffic Server reads when it starts, and not at a reload."""

STATS = "stats_over_http.config"

RULES = "purge-rules.config"
RULES_STATE = "purge-rules.state"
"""Files of regex_revalidate, beside the cache."""

PURGE_ALL = ("NF-Purge", "channel")
"""Header of a PURGE that takes out all that a map has served. No secret: ip_allow.yaml says who may send a PURGE."""

_HEAD = "# section "
_REDIRECT = re.compile(rf"^redirect http://{re.escape(CONFIG_HOST)}/ http://([0-9a-f]+)\.nf\.invalid/$", re.MULTILINE)
_STALE_S = 10  # a manifest older than this is worse than none: the player goes to another path
_SHIELD_MAY_TAKE_S = 2
_RETRY_MS = 10
_CACHE_SIZE = "256M"
LOGS_MB = 50
"""How much all logs of an edge may take, the oldest go first. Several times the least that Traffic Server rolls."""

_ROLLED_MB = 10
_RAM_CACHE_OCTETS = 64 * 1024 * 1024
# Whole seconds: the printing of a fraction costs as much as all other fields together.
_LOG_FORMAT = (
    '{"ts":%<cqts>,"client":"%<chi>","method":"%<cqhm>","url":"%<cquuc>","status":%<pssc>,"octets":%<psql>,'
    '"cache":"%<crc>","hierarchy":"%<phr>","ttms":%<ttms>}'
)


def generation(section: EdgeSection) -> str:
    """What the loaded remap table of `section` answers with."""
    return digest(section.to_json())[:24]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a Traffic Server has its files: everything below `root`, and what it caches in `cache`."""

    root: Path
    cache: Path

    @property
    def config(self) -> Path:
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def certificates(self) -> Path:
        """Apart from the configuration, whose text goes into undo records: these hold keys."""
        return self.root / "tls"

    @property
    def healing(self) -> Path:
        return self.root / "healing"

    @property
    def directories(self) -> tuple[Path, ...]:
        # Traffic Server ends at once when a plugin finds no var/trafficserver.
        names = ("etc", "run", "log", "var", "var/trafficserver", "data", "tls", "healing")
        return (self.root, *(self.root / name for name in names), self.cache)


def render(section: EdgeSection, places: Places, *, has_bbr: bool = True) -> dict[str, str]:
    """File name -> text, for `places.config`. `has_bbr`: whether the kernel it is for knows BBR."""
    return {
        "records.config": _records(section, places, has_bbr=has_bbr),
        REMAP: _remap(section, places),
        "parent.config": _parent(section),
        "ip_allow.yaml": _ip_allow(section),
        "storage.config": f"{places.cache} {_CACHE_SIZE}\n",
        "plugin.config": (
            # Every plugin here is called for every request. What a cache did stands in Via, so xdebug is none of them.
            f"stats_over_http.so --integer-counters --wrap-counters {places.config / STATS}\n"
            f"regex_revalidate.so --config {places.cache / RULES} --state-file {places.cache / RULES_STATE}\n"
        ),
        STATS: _stats(section),
        "logging.yaml": _logging(),
        **({MULTICERT: _multicert(section)} if section.tls is not None else {}),
    }


def section_of(files: Mapping[str, str]) -> EdgeSection | None:
    """The section that remap.config names; None when it names none."""
    first, _, _ = files.get(REMAP, "").partition("\n")
    if not first.startswith(_HEAD):
        return None
    try:
        return EdgeSection.model_validate(json.loads(first.removeprefix(_HEAD)))
    except ValueError:
        return None


def altered(files: Mapping[str, str], section: EdgeSection, places: Places, *, has_bbr: bool = True) -> tuple[str, ...]:
    """The files that are not, down to the byte, what `section` is rendered to."""
    wanted = render(section, places, has_bbr=has_bbr)
    return tuple(sorted(name for name in wanted.keys() | files.keys() if wanted.get(name) != files.get(name)))


def generation_of(files: Mapping[str, str]) -> str | None:
    """The generation that remap.config announces, also one that was edited by hand."""
    found = _REDIRECT.search(files.get(REMAP, ""))
    return found[1] if found else None


def runroot(places: Places) -> str:
    """runroot.yaml: where Traffic Server finds and puts everything."""
    root = places.root
    entries = {
        "prefix": root,
        "exec_prefix": root,
        "bindir": PROGRAMS,
        "sbindir": PROGRAMS,
        "sysconfdir": places.config,
        "datadir": root / "data",
        "includedir": root / "data",
        "libdir": MODULES.parent,
        "libexecdir": MODULES,
        "localstatedir": root / "var",
        "runtimedir": root / "run",
        "logdir": places.logs,
        "cachedir": places.cache,
    }
    return "".join(f"{name}: {path}\n" for name, path in entries.items())


def _ports(section: EdgeSection) -> str:
    places = [f"ip-in={address}" if address.version == 4 else f"ip-in=[{address}]" for address in section.addresses]
    tls = section.tls
    secure = [f"{tls.port}:ssl:{place}" for place in places] if tls is not None else []
    return " ".join([*(f"{section.port}:{place}" for place in places), *secure])


def uses_bbr(section: EdgeSection, *, has_bbr: bool) -> bool:
    wanted = section.congestion_control
    return wanted is CongestionControl.BBR or (wanted is CongestionControl.AUTO and has_bbr)


def _transport(section: EdgeSection, places: Places, *, has_bbr: bool) -> dict[str, object]:
    """Congestion control of accepted connections, and where certificates lie."""
    values: dict[str, object] = {}
    if uses_bbr(section, has_bbr=has_bbr):
        values["net.tcp_congestion_control_in STRING"] = "bbr"
    if section.tls is not None:
        values |= {
            "ssl.server.cert.path STRING": places.certificates,
            "ssl.server.private_key.path STRING": places.certificates,
            "ssl.server.multicert.exit_on_load_fail INT": 0,  # a bad certificate must not take http with it
            "ssl.TLSv1 INT": 0,
            "ssl.TLSv1_1 INT": 0,
        }
    return values


def _parents(section: EdgeSection) -> dict[str, object]:
    """A shield that ended a connection is not asked again where another could be: a hung one would accept it anew."""
    return {"http.parent_proxy.per_parent_connect_attempts INT": 1 if len(section.shields) > 1 else 2}


def _multicert(section: EdgeSection) -> str:
    names = [certificate_file(reference) for reference in section.tls.certificates] if section.tls is not None else []
    return "".join(f"{'dest_ip=* ' if not number else ''}ssl_cert_name={name}\n" for number, name in enumerate(names))


def certificate_file(reference: str) -> str:
    """Of `secret:NAME`, in `Places.certificates`."""
    return f"{reference.removeprefix('secret:')}.pem"


def _records(section: EdgeSection, places: Places, *, has_bbr: bool) -> str:
    values: dict[str, object] = {
        "admin.user_id STRING": USER,
        "exec_thread.autoconfig INT": 1,
        "cache.ram_cache.size INT": _RAM_CACHE_OCTETS,
        # Each wakes a hundred times a second, needed or not. Nearly all is served from memory.
        "cache.threads_per_disk INT": 2,
        "reverse_proxy.enabled INT": 1,
        "url_remap.remap_required INT": 1,
        "url_remap.pristine_host_hdr INT": 0,
        "http.server_ports STRING": _ports(section),
        "http.cache.http INT": 1,
        "http.cache.required_headers INT": 2,
        "http.cache.max_stale_age INT": _STALE_S,
        "http.insert_response_via_str INT": 2,
        # One request fills, the others wait for it (collapsed forwarding).
        "http.cache.open_write_fail_action INT": 5,
        # As long as a shield may take, and from its first octet on they read what is written.
        "http.cache.max_open_read_retries INT": _SHIELD_MAY_TAKE_S * 1000 // _RETRY_MS,
        "http.cache.open_read_retry_time INT": _RETRY_MS,
        "cache.enable_read_while_writer INT": 1,
        "http.background_fill_active_timeout INT": 0,
        "http.background_fill_completed_threshold FLOAT": 0.0,
        "http.connect_attempts_timeout INT": 2,
        "http.parent_proxy.self_detect INT": 0,
        # Shields that failed together, for a moment, are not refused to anybody for longer than that. One that stays
        # down is watched by healing.
        "http.parent_proxy.retry_time INT": 1,
        "http.parent_proxy.fail_threshold INT": 2,
        # Then all may ask it, not two at a time while the others are refused.
        "http.parent_proxy.max_trans_retries INT": 100_000,
        "http.parent_proxy.connect_attempts_timeout INT": 1,
        "http.transaction_no_activity_timeout_out INT": _SHIELD_MAY_TAKE_S,
        "http.push_method_enabled INT": 0,
        "diags.output.error STRING": "L",
        "diags.output.warning STRING": "L",
        "output.logfile STRING": "traffic.out",
        "log.logging_enabled INT": 3,
        "log.max_space_mb_for_logs INT": LOGS_MB,
        "log.max_space_mb_headroom INT": _ROLLED_MB,
        "log.max_secs_per_buffer INT": 1,
        "log.periodic_tasks_interval INT": 1,
        "log.rolling_size_mb INT": _ROLLED_MB,
        "diags.logfile.rolling_enabled INT": 2,
        "diags.logfile.rolling_size_mb INT": _ROLLED_MB,
        "output.logfile.rolling_enabled INT": 2,
        "output.logfile.rolling_size_mb INT": _ROLLED_MB,
        "net.poll_timeout INT": 10,
        "raw_stat_sync_interval_ms INT": 1000,
        "config_update_interval_ms INT": 500,
        **_parents(section),
        **_transport(section, places, has_bbr=has_bbr),
    }
    return "".join(f"CONFIG proxy.config.{name} {value}\n" for name, value in values.items())


def _remap(section: EdgeSection, places: Places) -> str:
    lines = [
        f"{_HEAD}{canonical(section.to_json())}",
        f"redirect http://{CONFIG_HOST}/ http://{generation(section)}.nf.invalid/",
        *(line for channel in section.channels for line in _maps(section, channel, places)),
    ]
    return "\n".join(lines) + "\n"


def hosts(section: EdgeSection, channel: EdgeChannel) -> tuple[str, ...]:
    """What may stand in the Host header: a client names the port there unless it is 80 (RFC 9110 section 7.2)."""
    names = (channel.host, *channel.aliases)
    return names if section.port == 80 else tuple(form for name in names for form in (name, f"{name}:{section.port}"))


def _maps(section: EdgeSection, channel: EdgeChannel, places: Places) -> list[str]:
    target = f"http://{SHIELD_HOST}{object_prefix(channel.bucket, channel.channel)}"
    forms = [("http", host, str(number)) for number, host in enumerate(hosts(section, channel))]
    forms += [("https", host, f"s{number}") for number, host in enumerate(tls_hosts(section, channel))]
    return [
        f"map {scheme}://{host}/{channel.channel}/ {target} {_plugins(places, channel, number)}"
        for scheme, host, number in forms
    ]


def tls_hosts(section: EdgeSection, channel: EdgeChannel) -> tuple[str, ...]:
    """As `hosts`, of requests that come by TLS: the table parts them by their scheme."""
    if section.tls is None:
        return ()
    names, port = (channel.host, *channel.aliases), section.tls.port
    return names if port == 443 else tuple(form for name in names for form in (name, f"{name}:{port}"))


def _plugins(places: Places, channel: EdgeChannel, number: str) -> str:
    """Each map counts its own generations, so what is stored under one must not be found under another.

    The count lies beside what is cached: a purge that a restart forgot would be none.
    """
    name, value = PURGE_ALL
    generations = places.cache / f"{channel.channel}.{channel.path}.{number}.generation"
    prefix = "cdn" if number == "0" else f"cdn{number}"
    return (
        f"@plugin=cachekey.so @pparam=--static-prefix={prefix} @pparam=--remove-all-params=true "
        f"@plugin=remap_purge.so @pparam=--header={name} @pparam=--secret={value} @pparam=--state-file={generations}"
    )


def _parent(section: EdgeSection) -> str:
    first, *others = [f"{shield.address}:{shield.port}|1.0" for shield in section.shields]
    secondary = f'secondary_parent="{";".join(others)}" ' if others else ""
    return (
        f'dest_domain={SHIELD_HOST} scheme=http parent="{first}" {secondary}'
        "round_robin=consistent_hash go_direct=false parent_is_proxy=false parent_retry=both "
        # 404: a segment may be at another shield already. 500: there may be nothing wrong with the others.
        'simple_server_retry_responses="404,500,504" unavailable_server_retry_responses="502,503" '
        "max_simple_retries=1 max_unavailable_server_retries=1\n"
    )


def _ip_allow(section: EdgeSection) -> str:
    own = ", ".join(["127.0.0.1", *map(str, section.listen), *([f'"{section.listen6}"'] if section.listen6 else [])])
    everybody = ["0/0", *(['"::/0"'] if section.listen6 is not None else [])]
    return f"ip_allow:\n- {{apply: in, ip_addrs: [{own}], action: allow, methods: ALL}}\n" + "".join(
        f"- {{apply: in, ip_addrs: {who}, action: allow, methods: [GET, HEAD, OPTIONS]}}\n" for who in everybody
    )


def _stats(section: EdgeSection) -> str:
    own = ",".join(f"{address}/32" for address in ["127.0.0.1", *section.listen])
    own6 = "" if section.listen6 is None else f",{section.listen6}/128"
    return f"path=_stats\nallow_ip={own}\nallow_ip6=::1/128{own6}\n"


def _logging() -> str:
    return (
        "logging:\n  formats:\n  - name: nf\n"
        f"    format: '{_LOG_FORMAT}'\n"
        "  logs:\n  - {mode: ascii, filename: access, format: nf, rolling_enabled: size, "
        f"rolling_size_mb: {_ROLLED_MB}}}\n"
    )
