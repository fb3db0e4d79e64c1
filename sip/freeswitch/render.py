"""From a section to the text of freeswitch.xml, and back. Pure.

Its head says in a comment of what section it was made, and in two global variables, which FreeSWITCH tells when asked,
which generation it is: `nf_config` of all of it, `nf_fixed` of what only a restart changes. Secrets stand in the file
in clear, and in neither.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from nf.contracts.json import canonical
from nf.errors import InputError
from sip.freeswitch import settings
from sip.freeswitch.dialplan import dialplan
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.phrases import phrases

CONFIG_VARIABLE: Final = "nf_config"
FIXED_VARIABLE: Final = "nf_fixed"
_HEAD: Final = "<!-- Made by StreamVerse NF: a change by hand is drift and is taken back. -->"
_OURS: Final = "<!-- nf: "
_PASSWORD: Final = re.compile(r"[!#%()*+,./0-9:;=?@A-Z^_a-z~-]{1,128}")
"""Of what neither XML nor FreeSWITCH's `$${...}`, nor a line of the event socket, makes something else."""
_PASSWORD_PLACE: Final = re.compile(r'(<param name="password" value=")([^"]*)(")')
_ACCOUNT: Final = re.compile(r"(\+?[A-Za-z0-9._-]{1,64}):([a-z0-9.-]{1,253}):")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the section names: the password shows nowhere, also not in `repr`. `users`: (user, domain), with boxes."""

    password: str = field(repr=False)
    users: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """What a file of ours says."""

    section: FreeswitchSection
    config: str
    fixed: str
    secrets: Secrets


def resolve(section: FreeswitchSection, find: Callable[[str], str] | None) -> Secrets:
    """Raises InputError, which quotes no secret, and what `find` raises."""
    if find is None:
        raise InputError("nothing resolves secrets here", where=section.server.password, remedy="apply on an appliance")
    password = find(section.server.password).strip()
    if _PASSWORD.fullmatch(password) is None:
        remedy = "write 1 to 128 letters, digits and signs in one line, without quotes, spaces, $, & and <"
        raise InputError("this is no password of an event socket", where=section.server.password, remedy=remedy)
    if section.accounts is None:
        return Secrets(password)
    return Secrets(password, frozenset(_users(find(section.accounts))))


def _users(text: str) -> Iterator[tuple[str, str]]:
    """Of each line that is one of an account. Others are the proxy's business, which says so."""
    for line in text.splitlines():
        if (found := _ACCOUNT.match(line.strip())) is not None:
            yield found[1], found[2]


def to_text(section: FreeswitchSection, secrets: Secrets, boxes: Path) -> str:
    """The file. `boxes`: where callers' messages are kept."""
    root = ET.Element("document", type="freeswitch/xml")
    made = ET.SubElement(root, "section", name="configuration", description="of the daemon")
    made.extend(
        (
            settings.switch(section),
            settings.modules(),
            settings.console(),
            settings.access(section),
            settings.event_socket(section, secrets.password),
            settings.sofia(section),
            settings.conference(),
            settings.menus(section),
            settings.voicemail(boxes),
        )
    )
    root.append(dialplan(section))
    root.append(settings.directory(section, secrets.users))
    root.append(phrases())
    ET.indent(root)
    tree = ET.tostring(root, encoding="unicode")
    # A comment may not hold two hyphens (XML 1.0 section 2.5); JSON may write one as an escape.
    told = canonical(section.to_json()).replace("-", "\\u002d")
    head, _, rest = tree.partition("\n")
    variables = ((CONFIG_VARIABLE, _digest(_hidden(tree))), (FIXED_VARIABLE, fixed_digest(section)))
    lines = [f'  <X-PRE-PROCESS cmd="set" data="{name}={value}"/>' for name, value in variables]
    return "\n".join((_HEAD, f"{_OURS}{told} -->", head, *lines, rest)) + "\n"


def fixed_digest(section: FreeswitchSection) -> str:
    """Of what is read once: where it listens, with which password, its modules."""
    read_once = (
        settings.modules(),
        settings.console(),
        settings.event_socket(section, section.server.password),
        settings.sofia(section),
        settings.voicemail(Path("/")),
    )
    return _digest("\n".join((section.server.id, *(ET.tostring(one, encoding="unicode") for one in read_once))))


def from_text(text: str) -> Standing | None:
    """None for what is none of our files, or no longer."""
    line = next((line for line in text.splitlines()[:3] if line.startswith(_OURS)), None)
    password = _PASSWORD_PLACE.search(text)
    if line is None or password is None:
        return None
    try:
        section = FreeswitchSection.model_validate(json.loads(line.removeprefix(_OURS).removesuffix(" -->")))
        body = text.split("\n", 2)[2]
        found = dict(re.findall(r'<X-PRE-PROCESS cmd="set" data="(\w+)=(\w+)"/>', body))
        tree = "\n".join(one for one in body.rstrip("\n").split("\n") if "<X-PRE-PROCESS " not in one)
        root = ET.fromstring(tree)  # noqa: S314 - our own file, and only its owner writes it
    except (ValueError, ET.ParseError, IndexError):
        return None
    if found.get(CONFIG_VARIABLE) != _digest(_hidden(tree)):
        return None  # changed by hand
    users = {
        (user.get("id", ""), domain.get("name", ""))
        for domain in root.iterfind("section[@name='directory']/domain")
        for user in domain.iter("user")
    }
    secrets = Secrets(password[2], frozenset(users))
    return Standing(section, found[CONFIG_VARIABLE], found.get(FIXED_VARIABLE, ""), secrets)


def _hidden(tree: str) -> str:
    return _PASSWORD_PLACE.sub(r"\1\3", tree)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
