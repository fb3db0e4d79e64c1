"""The parts of FreeSWITCH's configuration, one function for each `*.conf`. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from sip.freeswitch.dialplan import BOXES, PROFILE, ROOMS, SERVICES, menu_name, where
from sip.freeswitch.documents import FreeswitchSection
from sip.naming import CONTROL_LOOPBACK, MEDIA_SERVER_PORTS

PROXIES: Final = "proxies"
"""The access list of those who may call."""
MEDIA_PORTS: Final = MEDIA_SERVER_PORTS
"""RTP and RTCP of calls: two ports each. Relays and gateways have theirs from 20000 on."""
CALLS_AT_MOST: Final = (MEDIA_PORTS[1] - MEDIA_PORTS[0] + 1) // 2

_MODULES: Final = (
    "mod_console",
    "mod_commands",
    "mod_event_socket",
    "mod_dptools",
    "mod_dialplan_xml",
    "mod_sofia",
    "mod_conference",
    "mod_voicemail",
    "mod_sndfile",
    "mod_tone_stream",
    "mod_spandsp",
    "mod_opus",
)
_NEEDED: Final = frozenset(_MODULES) - {"mod_spandsp", "mod_opus"}
_BEEP: Final = "tone_stream://%(300,100,660)"
_TWICE: Final = "tone_stream://%(150,100,880);loops=2"
_WRONG: Final = "tone_stream://%(400,100,330)"


def configuration(name: str, settings: Mapping[str, object] | None = None) -> ET.Element:
    root = ET.Element("configuration", name=name)
    if settings is not None:
        params(ET.SubElement(root, "settings"), settings)
    return root


def params(parent: ET.Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        ET.SubElement(parent, "param", name=name, value=text)


def switch(section: FreeswitchSection) -> ET.Element:
    first, last = MEDIA_PORTS
    return configuration(
        "switch.conf",
        {
            "max-sessions": section.server.sessions,
            "sessions-per-second": section.rate,
            "rtp-start-port": first,
            "rtp-end-port": last,
            "loglevel": "notice",
            "event-heartbeat-interval": 20,
            "dump-cores": False,
            "rtp-retain-crypto-keys": False,
            "switchname": section.server.id,
        },
    )


def modules() -> ET.Element:
    root = configuration("modules.conf")
    listed = ET.SubElement(root, "modules")
    for name in _MODULES:
        ET.SubElement(listed, "load", {"module": name, **({"critical": "true"} if name in _NEEDED else {})})
    return root


def console() -> ET.Element:
    root = configuration("console.conf", {"colorize": False, "loglevel": "notice"})
    root.insert(0, ET.Element("mappings"))
    ET.SubElement(root[0], "map", name="all", value="console,notice,warning,err,crit,alert")
    return root


def access(section: FreeswitchSection) -> ET.Element:
    root = configuration("acl.conf")
    found = ET.SubElement(ET.SubElement(root, "network-lists"), "list", name=PROXIES, default="deny")
    for address in sorted({*section.callers}):
        ET.SubElement(found, "node", type="allow", cidr=f"{address}/32")
    return root


def event_socket(section: FreeswitchSection, password: str) -> ET.Element:
    """For this appliance alone."""
    return configuration(
        "event_socket.conf",
        {
            "nat-map": False,
            "listen-ip": CONTROL_LOOPBACK,
            "listen-port": section.server.control,
            "password": password,
            "apply-inbound-acl": "loopback.auto",
            "stop-on-bind-error": True,
        },
    )


def sofia(section: FreeswitchSection) -> ET.Element:
    """One profile: it takes calls of proxies and of nobody else, registers nobody, and says when it is full."""
    server = section.server
    root = configuration("sofia.conf")
    params(ET.SubElement(root, "global_settings"), {"log-level": 0, "auto-restart": True})
    profile = ET.SubElement(ET.SubElement(root, "profiles"), "profile", name=PROFILE)
    params(
        ET.SubElement(profile, "settings"),
        {
            "sip-ip": server.address,
            "sip-port": server.port,
            "rtp-ip": server.address,
            "context": SERVICES,
            "dialplan": "XML",
            "apply-inbound-acl": PROXIES,
            "auth-calls": False,
            "accept-blind-reg": False,
            "accept-blind-auth": False,
            "disable-register": True,
            "manage-presence": False,
            "sip-options-respond-503-on-busy": True,
            "shutdown-on-fail": True,
            "inbound-codec-prefs": "OPUS,G722,PCMA,PCMU",
            "outbound-codec-prefs": "OPUS,G722,PCMA,PCMU",
            "inbound-codec-negotiation": "generous",
            "inbound-late-negotiation": True,
            "dtmf-type": "rfc2833",
            "rtp-timeout-sec": 120,
            "rtp-hold-timeout-sec": 1800,
            "rtp-timer-name": "soft",
            "user-agent-string": "StreamVerse",
            "sip-trace": False,
            "log-auth-failures": True,
        },
    )
    return root


def conference() -> ET.Element:
    root = configuration("conference.conf")
    ET.SubElement(root, "advertise")
    groups = ET.SubElement(root, "caller-controls")
    keys = ET.SubElement(groups, "group", name="members")
    for action, digits in (("mute", "0"), ("vol talk up", "3"), ("vol talk dn", "1")):
        ET.SubElement(keys, "control", action=action, digits=digits)
    profile = ET.SubElement(ET.SubElement(root, "profiles"), "profile", name=ROOMS)
    params(
        profile,
        {
            "rate": 8000,
            "interval": 20,
            "energy-level": 100,
            "comfort-noise": False,
            "caller-controls": "members",
            "enter-sound": _BEEP,
            "exit-sound": _WRONG,
            "muted-sound": _WRONG,
            "unmuted-sound": _BEEP,
            "caller-id-name": "Conference",
            "caller-id-number": "0000000000",
        },
    )
    return root


def menus(section: FreeswitchSection) -> ET.Element:
    root = configuration("ivr.conf")
    listed = ET.SubElement(root, "menus")
    for service in section.services:
        if service.kind != "ivr":
            continue
        menu = ET.SubElement(
            listed,
            "menu",
            {
                "name": menu_name(service),
                "greet-long": _TWICE,
                "greet-short": _BEEP,
                "invalid-sound": _WRONG,
                "exit-sound": _WRONG,
                "timeout": "10000",
                "inter-digit-timeout": "2000",
                "max-failures": "3",
                "max-timeouts": "3",
                "digit-len": "1",
            },
        )
        for key, number in sorted(service.options.items()):
            param = f"transfer {number} XML {where(number, section)}"
            ET.SubElement(menu, "entry", action="menu-exec-app", digits=key, param=param)
    return root


def voicemail(boxes: Path) -> ET.Element:
    root = configuration("voicemail.conf")
    ET.SubElement(root, "settings")
    profile = ET.SubElement(ET.SubElement(root, "profiles"), "profile", name=BOXES)
    params(
        profile,
        {
            "file-extension": "wav",
            "storage-dir": boxes,
            "terminator-key": "#",
            "max-login-attempts": 3,
            "digit-timeout": 10_000,
            "min-record-len": 1,
            "max-record-len": 300,
            "max-retries": 3,
            "tone-spec": "%(1000, 0, 640)",
            "callback-dialplan": "XML",
            "callback-context": SERVICES,
            "play-new-messages-key": 1,
            "play-saved-messages-key": 2,
            "login-keys": 0,
            "main-menu-key": 0,
            "config-menu-key": 5,
            "record-greeting-key": 1,
            "choose-greeting-key": 2,
            "change-pass-key": 6,
            "record-name-key": 3,
            "record-file-key": 3,
            "listen-file-key": 1,
            "save-file-key": 2,
            "delete-file-key": 7,
            "undelete-file-key": 8,
            "email-key": 4,
            "pause-key": 0,
            "restart-key": 1,
            "ff-key": 6,
            "rew-key": 4,
            "skip-greet-key": "#",
            "skip-info-key": "*",
            "record-silence-threshold": 200,
            "record-silence-hits": 500,
            "allow-empty-password-auth": False,
        },
    )
    return root


def directory(section: FreeswitchSection, users: Iterable[tuple[str, str]]) -> ET.Element:
    """Who has a box, (user, domain): names alone. It asks for no password: only proxies call, and they have asked."""
    root = ET.Element("section", name="directory", description="who has a box")
    of: dict[str, list[str]] = {domain: [] for domain in section.domains}
    for user, domain in sorted({*users}):
        if domain in of:
            of[domain].append(user)
    for domain, names in of.items():
        group = ET.SubElement(ET.SubElement(ET.SubElement(root, "domain", name=domain), "groups"), "group", name="all")
        listed = ET.SubElement(group, "users")
        for name in names:
            params(ET.SubElement(ET.SubElement(listed, "user", id=name), "params"), {"vm-enabled": True})
    return root
