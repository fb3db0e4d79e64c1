"""The file: what stands in it, that it is read back, that its form is checked, and that no secret leaves it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.errors import InputError
from sip.freeswitch import schema
from sip.freeswitch.documents import FreeswitchSection
from sip.freeswitch.render import Secrets, fixed_digest, from_text, resolve, to_text
from tests.sip.freeswitch.samples import ACCOUNTS, PASSWORD, section

BOXES = Path("/var/lib/nf/freeswitch/data/storage")
SECRETS = Secrets(PASSWORD, frozenset({("alice", "voice.test"), ("bob", "voice.test")}))


def rendered(**changes: Any) -> ET.Element:
    return ET.fromstring(to_text(section(**changes), SECRETS, BOXES))  # noqa: S314 - our own


def params(root: ET.Element, name: str, path: str = "settings/param") -> dict[str, str]:
    (found,) = root.iterfind(f"section/configuration[@name='{name}']")
    return {one.get("name", ""): one.get("value", "") for one in found.iterfind(path)}


def actions(root: ET.Element, number: str, context: str = "services") -> list[tuple[str, str]]:
    """What a dialled number does."""
    for extension in root.iterfind(f"section[@name='dialplan']/context[@name='{context}']/extension"):
        (condition,) = extension.iterfind("condition")
        match = re.search(condition.get("expression", ""), number)
        if match is not None:
            found = condition.iterfind("action")
            data = [(one.get("application", ""), one.get("data", "")) for one in found]
            return [(name, text.replace("$1", match[1] if match.re.groups else "")) for name, text in data]
    return []


def test_what_the_document_says_is_in_the_file() -> None:
    root = rendered(server={"sessions": 77}, rate=33)
    switch, socket = params(root, "switch.conf"), params(root, "event_socket.conf")
    assert (switch["max-sessions"], switch["sessions-per-second"]) == ("77", "33")
    assert (socket["listen-ip"], socket["listen-port"], socket["password"]) == ("127.0.0.1", "8021", PASSWORD)
    sofia = params(root, "sofia.conf", "profiles/profile/settings/param")
    assert (sofia["sip-ip"], sofia["sip-port"], sofia["apply-inbound-acl"]) == ("10.1.0.1", "5080", "proxies")
    assert (sofia["auth-calls"], sofia["disable-register"]) == ("false", "true")
    (acl,) = root.iterfind("section/configuration[@name='acl.conf']/network-lists/list")
    assert (acl.get("default"), [one.get("cidr") for one in acl]) == ("deny", ["10.1.0.1/32", "10.2.0.1/32"])
    users = [one.get("id") for one in root.iterfind("section[@name='directory']/domain[@name='voice.test']//user")]
    assert users == ["alice", "bob"]


def test_each_number_does_what_its_kind_says_and_no_other_number_does_anything() -> None:
    root = rendered()
    assert actions(root, "9000") == [("answer", ""), ("echo", "")]
    assert actions(root, "9001") == [("answer", ""), ("conference", "room-9001@room")]
    assert actions(root, "9002")[-1] == ("ivr", "menu-9002")
    assert actions(root, "*97")[-1] == ("voicemail", "check auth default ${sip_from_host} ${sip_from_user}")
    assert actions(root, "*97*bob")[-1] == ("voicemail", "default ${sip_from_host} bob")
    for wrong in ("90001", "19000", "900", "x97", "*97*a b", "+4930123456", "", "9000\n9001x"):
        assert actions(root, wrong) == [], wrong
    ((_, dialled),) = actions(root, "+4930123456", "outside")
    assert dialled == (
        "sofia/voice/sip:+4930123456@10.1.0.1:5060|sofia/voice/sip:+4930123456@10.2.0.1:5070;transport=tcp"
    )
    (menu,) = root.iterfind("section/configuration[@name='ivr.conf']/menus/menu")
    assert [(one.get("digits"), one.get("param")) for one in menu] == [
        ("#", "transfer 9000 XML services"),
        ("1", "transfer 9001 XML services"),
        ("2", "transfer +4930123456 XML outside"),
    ]


def test_the_file_is_read_back_whole() -> None:
    text = to_text(section(), SECRETS, BOXES)
    standing = from_text(text)
    assert standing is not None
    assert (standing.section, standing.secrets) == (section(), SECRETS)
    assert standing.fixed == fixed_digest(section())
    assert to_text(standing.section, standing.secrets, BOXES) == text


def test_a_change_by_hand_is_no_file_of_ours_and_the_password_changes_no_generation() -> None:
    text = to_text(section(), SECRETS, BOXES)
    first = from_text(text)
    assert first is not None
    assert from_text(text.replace('value="1000"', 'value="9"')) is None
    assert from_text(text.replace("</document>", "")) is None
    assert from_text("") is None
    assert from_text("<document/>") is None
    other = from_text(to_text(section(), Secrets("other-1", SECRETS.users), BOXES))
    assert other is not None
    assert (other.config, other.fixed) == (first.config, first.fixed)
    assert PASSWORD not in repr(first)


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [
        ({"services": []}, False),
        ({"callers": ["10.9.0.1"]}, False),
        ({"rate": 9}, False),
        ({"server": {"sessions": 9}}, False),
        ({"server": {"weight": 9}}, False),
        ({"server": {"port": 5090}}, True),
        ({"server": {"address": "10.1.0.2"}}, True),
        ({"server": {"control": 8022}}, True),
        ({"server": {"password": "secret:other"}}, True),
    ],
)
def test_what_only_a_restart_changes(changes: dict[str, Any], fixed: bool) -> None:
    assert (fixed_digest(section(**changes)) != fixed_digest(section())) is fixed


def test_our_files_have_the_form_of_the_schema() -> None:
    for changes in ({}, {"services": [], "accounts": None}, {"ways_out": []}, {"server": {"sessions": 100_000}}):
        made = section(**changes)
        if not made.ways_out:
            made = made.model_copy(update={"services": made.services[:2]})
        assert schema.problems(to_text(made, SECRETS, BOXES)) == ()


@pytest.mark.parametrize(
    ("what", "with_what"),
    [
        ('name="auth-calls" value="false"', 'name="auth-calls" value="true"'),
        ('name="apply-inbound-acl" value="proxies"', 'name="apply-inbound-acl" value="any"'),
        ('default="deny"', 'default="allow"'),
        ("10.1.0.1/32", "0.0.0.0/0"),
        ('name="listen-ip" value="127.0.0.1"', 'name="listen-ip" value="::"'),
        ('name="sip-port" value="5080"', 'name="sip-port" value="65536"'),
        ('name="max-sessions" value="1000"', 'name="max-sessions" value="0"'),
        ('application="echo"', 'application="system"'),
        ('cmd="set"', 'cmd="exec"'),
        ("<extension name=", "<extension continue='true' name="),
        ('<section name="dialplan"', '<section name="other"'),
        ("transfer 9001 XML services", "transfer 9001 XML default"),
        ("</document>", "<x/></document>"),
        ("</document>", ""),
    ],
)
def test_another_form_is_refused_with_its_line_and_without_its_value(what: str, with_what: str) -> None:
    text = to_text(section(), SECRETS, BOXES)
    assert what in text
    found = schema.problems(text.replace(what, with_what, 1))
    assert found
    assert all(one.key.startswith("freeswitch.xml") for one in found)
    assert PASSWORD not in str(found)


def test_secrets_are_resolved_once_and_what_is_none_is_not_quoted() -> None:
    found = resolve(section(), {"secret:event-socket": f"{PASSWORD}\n", "secret:voice-accounts": ACCOUNTS}.__getitem__)
    assert found == SECRETS
    for bad in ('sec"ret', "two words", "", "a" * 129, "a$${b}", "<sesame>", "line\nline"):
        with pytest.raises(InputError) as error:
            resolve(section(accounts=None), lambda _, bad=bad: bad)  # type: ignore[misc]
        assert bad not in str(error.value) or not bad
    with pytest.raises(InputError, match="nothing resolves secrets"):
        resolve(section(), None)


_digits = st.from_regex(r"\+?[0-9*#]{1,24}", fullmatch=True)
_services = st.lists(
    st.one_of(
        st.fixed_dictionaries({"number": _digits, "kind": st.sampled_from(["conference", "voicemail", "echo"])}),
        st.fixed_dictionaries(
            {
                "number": _digits,
                "kind": st.just("ivr"),
                "options": st.dictionaries(st.from_regex(r"[0-9*#]", fullmatch=True), _digits, min_size=1, max_size=12),
            }
        ),
    ),
    max_size=8,
    unique_by=lambda one: one["number"],
)
_password = st.from_regex(r"[!#%()*+,./0-9:;=?@A-Z^_a-z~-]{1,128}", fullmatch=True)


@given(
    _services,
    _password,
    st.sets(st.tuples(st.from_regex(r"\+?[A-Za-z0-9._-]{1,64}", fullmatch=True), st.just("voice.test"))),
)
def test_whatever_the_document_says_has_the_form_and_is_read_back(
    services: list[dict[str, Any]], password: str, users: set[tuple[str, str]]
) -> None:
    made: FreeswitchSection = section(services=services)
    secrets = Secrets(password, frozenset(users))
    text = to_text(made, secrets, BOXES)
    assert schema.problems(text) == ()
    standing = from_text(text)
    assert standing is not None
    assert (standing.section, standing.secrets) == (made, secrets)
    root = ET.fromstring(text)  # noqa: S314 - our own
    for service in made.services:
        found = actions(root, service.number)
        kind = {"ivr": "ivr", "echo": "echo", "conference": "conference", "voicemail": "voicemail"}[service.kind]
        assert found[-1][0] == kind
        for number in service.options.values():
            context = "services" if any(one.number == number for one in made.services) else "outside"
            assert actions(root, number, context)
