"""The files of a relay: rtpengine's, and of a pair the store's and the mover's. Pure; what is read back is compared
whole, so that a file that somebody changed is seen."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from sip.rtpengine.documents import Pair, RtpengineSection
from sip.rtpengine.naming import ADVERT_S, DATABASES, HTTP_PORT, STORE_PORT, VRRP_IDS, alive_path, hold_path, media_name

_HEAD: Final = "# Written by the driver rtpengine, for: "
_TEMPLATE: Final = """\
[rtpengine]
table = -1
no-fallback = false
foreground = true
log-stderr = true
no-log-timestamps = true
log-level = 5
{interfaces}
listen-ng = {address}:{control}
listen-http = 127.0.0.1:{http}
port-min = {first}
port-max = {last}
timeout = 60
silent-timeout = 3600
offer-timeout = 120
final-timeout = 90000
delete-delay = 0
tos = 184
{redis}"""
_REDIS: Final = """\
redis = {store}:{port}/{own}
subscribe-keyspace = {other}
active-switchover = true
no-redis-required = true
redis-allowed-errors = 3
redis-disable-time = 5
redis-cmd-timeout = 200
redis-connect-timeout = 500
redis-expires = 90000
"""
_STORE: Final = """\
bind {address}
port {port}
protected-mode no
daemonize no
databases 3
save ""
appendonly no
notify-keyspace-events AKE
maxmemory 256mb
maxmemory-policy volatile-ttl
dir /tmp
"""
_INSTANCE: Final = """\
vrrp_instance {name} {{
  state BACKUP
  interface {interface}
  virtual_router_id {vrid}
  priority {priority}
  advert_int {advert}
  garp_master_delay 1
  unicast_src_ip {source}
  unicast_peer {{
    {other}
  }}
  virtual_ipaddress {{
    {address}/32 dev {interface}
  }}
  track_script {{
    relay{more}
  }}
}}
"""
_HOLD: Final = """\
here=
while read -r line; do
  if [ "$before" = "|-- {address}" ] && [ "$line" = "/32 host LOCAL" ]; then here=1; fi
  before=$line
done < /proc/net/fib_trie
[ -n "$here" ] || exit 1
while read -r _ local _; do
  case $local in {octets}:*) exit 0 ;; esac
done < /proc/net/udp
exit 1
"""
_ALIVE: Final = """\
exec 3<>/dev/tcp/127.0.0.1/{http} || exit 1
printf 'GET /ping HTTP/1.0\\r\\n\\r\\n' >&3
while read -r -t 2 line <&3; do
  case $line in pong*) exit 0 ;; esac
done
exit 1
"""


def rtpengine_conf(section: RtpengineSection) -> str:
    """Takes the section itself along, in its first line."""
    relay, pair = section.relay, section.pair
    media = [f"{media_name(relay.id)}/{relay.address}" + (f"!{relay.advertised}" if relay.advertised else "")]
    redis = ""
    if pair is not None:
        media.append(f"{media_name(pair.partner)}/{pair.address}")
        own, other = DATABASES if pair.first else reversed(DATABASES)
        redis = _REDIS.format(store=_store_address(pair), port=STORE_PORT, own=own, other=other)
    first, last = relay.ports
    text = _TEMPLATE.format(
        interfaces=f"interface = {';'.join(media)}",
        address=relay.address,
        control=relay.control,
        http=HTTP_PORT,
        first=first,
        last=last,
        redis=redis,
    )
    return f"{_HEAD}{json.dumps(section.to_json(), sort_keys=True)}\n{text}"


def program(text: str) -> str:
    """What the program reads of its file: that without the comment."""
    return text.partition("\n")[2]


def from_text(text: str) -> RtpengineSection | None:
    """None: not ours, or changed by somebody."""
    head = text.partition("\n")[0]
    if not head.startswith(_HEAD):
        return None
    try:
        section = RtpengineSection.model_validate(json.loads(head.removeprefix(_HEAD)))
    except (ValueError, ValidationError):
        return None
    return section if rtpengine_conf(section) == text else None


def store_conf(pair: Pair) -> str:
    return _STORE.format(address=_store_address(pair), port=STORE_PORT)


def _store_address(pair: Pair) -> str:
    return str(pair.own.ip if pair.first else pair.other)


def mover_conf(section: RtpengineSection, pair: Pair, state_dir: Path) -> str:
    """keepalived's: each of the two addresses is where its own relay answers, and else at the other one.

    Who has taken the partner's address over gives it back when no call is on it any more: whoever returns from the
    dead may know none of them.
    """
    head = (
        "global_defs {\n  vrrp_version 3\n  router_id " + section.relay.id + "\n  script_user root\n}\n"
        "vrrp_script relay {\n"
        f'  script "/bin/bash {alive_path(state_dir)}"\n  interval 1\n  timeout 2\n  fall 2\n  rise 2\n}}\n'
        "vrrp_script hold {\n"
        f'  script "/bin/bash {hold_path(state_dir)}"\n  interval 1\n  timeout 2\n  fall 2\n  rise 1\n  weight 60\n'
        "  init_fail\n}\n"
    )
    own, other = VRRP_IDS if pair.first else reversed(VRRP_IDS)
    shared = {
        "interface": pair.interface,
        "advert": ADVERT_S,
        "source": pair.own.ip,
        "other": pair.other,
    }
    mine = _INSTANCE.format(name="own", vrid=own, priority=150, address=section.relay.address, more="", **shared)
    theirs = _INSTANCE.format(
        name="partner", vrid=other, priority=100, address=pair.address, more="\n    hold", **shared
    )
    return head + mine + theirs


def hold_script(pair: Pair) -> str:
    """Sockets are listed with the address as the kernel has it in memory."""
    octets = struct.unpack("=I", pair.address.packed)[0]
    return _HOLD.format(address=pair.address, octets=f"{octets:08X}")


def alive_script() -> str:
    return _ALIVE.format(http=HTTP_PORT)
