"""`show`: channels, calls, registrations and so on, as text and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from lab.voice.freeswitch.channel import Channel
from lab.voice.freeswitch.core import Switch
from lab.voice.g711 import NAMES

_CHANNEL = [
    "uuid",
    "direction",
    "created",
    "created_epoch",
    "name",
    "state",
    "cid_name",
    "cid_num",
    "ip_addr",
    "dest",
    "application",
    "application_data",
    "dialplan",
    "context",
    "read_codec",
    "read_rate",
    "read_bit_rate",
    "write_codec",
    "write_rate",
    "write_bit_rate",
    "secure",
    "hostname",
    "presence_id",
    "presence_data",
    "accountcode",
    "callstate",
    "callee_name",
    "callee_num",
    "callee_direction",
    "call_uuid",
    "sent_callee_name",
    "sent_callee_num",
    "initial_cid_name",
    "initial_cid_num",
    "initial_ip_addr",
    "initial_dest",
    "initial_dialplan",
    "initial_context",
]
_LEG = [
    "uuid",
    "direction",
    "created",
    "created_epoch",
    "name",
    "state",
    "cid_name",
    "cid_num",
    "ip_addr",
    "dest",
    "presence_id",
    "presence_data",
    "accountcode",
    "callstate",
    "callee_name",
    "callee_num",
    "callee_direction",
    "call_uuid",
    "hostname",
    "sent_callee_name",
    "sent_callee_num",
]
_REGISTRATION = [
    "reg_user",
    "realm",
    "token",
    "url",
    "expires",
    "network_ip",
    "network_port",
    "network_proto",
    "hostname",
    "metadata",
]
Row = dict[str, str]


def show(switch: Switch, text: str) -> str:
    """`WHAT [count] [as json|xml|delim DELIM]`; `channels like TEXT`."""
    words = text.split()
    what = words[0] if words else ""
    form, delimiter = "text", ","
    if "as" in words:
        at = words.index("as")
        form = words[at + 1] if at + 1 < len(words) else "text"
        delimiter = words[at + 2] if form == "delim" and at + 2 < len(words) else ","
        words = words[:at]
    found = _rows(switch, what)
    if found is None:
        return f"-USAGE: {USAGE}\n"
    columns, rows = found
    if "like" in words and len(words) > words.index("like") + 1:
        wanted = words[words.index("like") + 1].replace("%", "").lower()
        rows = [row for row in rows if any(wanted in value.lower() for value in row.values())]
    if "count" in words:
        return json.dumps({"row_count": len(rows)}) if form == "json" else f"\n{len(rows)} total.\n"
    if form == "json":
        whole: dict[str, object] = {"row_count": len(rows)}
        return json.dumps(whole | ({"rows": rows} if rows else {}))
    if form == "xml":
        return _xml(rows)
    head = f"{delimiter.join(columns)}\n" if rows else ""
    lines = "".join(f"{delimiter.join(row.get(one, '') for one in columns)}\n" for row in rows)
    return f"{head}{lines}\n{len(rows)} total.\n"


USAGE = (
    "codec|endpoint|application|api|dialplan|file|timer|calls [count]|channels [count|like <match string>]|calls|"
    "detailed_calls|bridged_calls|detailed_bridged_calls|aliases|complete|chat|management|modules|nat_map|say|interfaces|"
    "interface_types|tasks|limits|status"
)


def _rows(switch: Switch, what: str) -> tuple[Sequence[str], list[Row]] | None:
    channels = list(switch.channels.values())
    if what == "channels":
        return _CHANNEL, [_row(switch, one) for one in channels]
    if what in ("calls", "detailed_calls", "bridged_calls", "detailed_bridged_calls"):
        led = [one for one in channels if one.call_uuid == one.uuid or one.peer is None]
        if "bridged" in what:
            led = [one for one in led if one.peer is not None]
        columns = [*_LEG, *[f"b_{one}" for one in _LEG if one not in ("call_uuid", "hostname")], "call_created_epoch"]
        return columns, [_call(switch, one) for one in led]
    if what == "registrations":
        return _REGISTRATION, [row for profile in switch.profiles.values() for row in _registered(switch, profile)]
    names = {"modules": sorted(switch.modules), "api": sorted(switch.apis), "application": sorted(switch.applications)}
    if what in names:
        return ("type", "name", "ikey"), [{"type": what, "name": one, "ikey": ""} for one in names[what]]
    return None


def _row(switch: Switch, one: Channel) -> Row:
    profile = one.profile
    codec = NAMES[one.media.codec] if one.theirs is not None else ""
    rate = "8000" if codec else ""
    values = {
        "uuid": one.uuid, "direction": one.direction, "name": one.name, "state": one.state,
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.created)),
        "created_epoch": str(int(one.created)), "cid_name": profile.caller_id_name, "cid_num": profile.caller_id_number,
        "ip_addr": profile.network_addr, "dest": profile.destination_number, "application": one.application,
        "application_data": one.application_data, "dialplan": profile.dialplan, "context": profile.context,
        "read_codec": codec, "read_rate": rate, "read_bit_rate": "64000" if codec else "", "write_codec": codec,
        "write_rate": rate, "write_bit_rate": "64000" if codec else "", "hostname": switch.identity.hostname,
        "callstate": one.callstate, "call_uuid": one.call_uuid if one.peer is not None else "",
        "initial_cid_name": profile.caller_id_name, "initial_cid_num": profile.caller_id_number,
        "initial_ip_addr": profile.network_addr, "initial_dest": profile.destination_number,
        "initial_dialplan": profile.dialplan, "initial_context": profile.context,
    }  # fmt: skip
    return {name: values.get(name, "") for name in _CHANNEL}


def _call(switch: Switch, one: Channel) -> Row:
    row = {name: value for name, value in _row(switch, one).items() if name in _LEG}
    other = _row(switch, one.peer) if one.peer is not None else {}
    row |= {f"b_{name}": other.get(name, "") for name in _LEG if name not in ("call_uuid", "hostname")}
    return row | {"call_created_epoch": str(int(one.created)) if other else ""}


def _registered(switch: Switch, profile: object) -> list[Row]:
    return [
        {
            "reg_user": one.user, "realm": one.realm, "token": one.call_id, "url": one.contact,
            "expires": str(int(one.expires)), "network_ip": one.host, "network_port": str(one.port),
            "network_proto": "udp", "hostname": switch.identity.hostname, "metadata": "",
        }
        for one in profile.registrar.registrations()  # type: ignore[attr-defined]
    ]  # fmt: skip


def _xml(rows: list[Row]) -> str:
    lines = [f'<result row_count="{len(rows)}">']
    for number, row in enumerate(rows, 1):
        fields = "".join(f"    <{name}>{value}</{name}>\n" for name, value in row.items())
        lines.append(f'  <row row_id="{number}">\n{fields}  </row>')
    return "\n".join([*lines, "</result>"]) + "\n"
