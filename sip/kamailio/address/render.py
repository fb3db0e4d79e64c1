"""keepalived.conf of a proxy's virtual addresses (RFC 5798). Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sip.kamailio.documents import Instance, VoiceAddressSection

FIRST, SECOND = 150, 100
"""Priorities. One that is drained asks with 60 less: the other has the address then, unless it is drained as well."""

ADVERTISE_S: Final = 0.5

_HEAD: Final = """\
# Made by StreamVerse NF: a change by hand is drift and is taken back.
global_defs {{
    router_id {appliance}
    vrrp_version 3
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 30
    enable_script_security
    process_names
}}
vrrp_track_file proxy {{
    file "{file}"
    weight -1
}}
"""

_INSTANCE: Final = """\
vrrp_instance {id} {{
    state BACKUP
    interface {interface}
    virtual_router_id {vrid}
    priority {priority}
    advert_int {advertise}
    garp_lower_prio_repeat 1
    track_file {{
        proxy
    }}
    virtual_ipaddress {{
        {address} dev {interface}
    }}
}}
"""


def render(section: VoiceAddressSection, appliance: str, file: Path) -> str:
    """`file`: what `sip.kamailio.alive` writes."""
    return _HEAD.format(appliance=appliance, file=file) + "".join(map(_instance, section.instances))


def _instance(one: Instance) -> str:
    return _INSTANCE.format(
        id=one.id,
        interface=one.interface,
        vrid=one.vrid,
        priority=FIRST if one.first else SECOND,
        advertise=ADVERTISE_S,
        address=one.address,
    )
