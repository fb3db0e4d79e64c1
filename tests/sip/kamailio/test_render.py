"""Every section that can be written is a configuration that Kamailio takes; what is HOT changes nothing in it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nf.documents.model import RuleError
from sip.documents import MAX_DENSITY, Codec
from sip.kamailio.documents import KamailioSection
from sip.kamailio.paths import Paths
from sip.kamailio.render import render
from sip.kamailio.sets import trunk_set
from sip.kamailio.tables import tables
from sip.naming import SHARING_PORT
from tests.sip.kamailio.daemon import ACCOUNTS, DOMAIN, Proxy, section

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}[a-z0-9]", fullmatch=True)
DIGITS = st.from_regex(r"\+?[0-9*#]{1,12}", fullmatch=True)
PREFIXES = st.from_regex(r"\+?[0-9*#]{0,8}", fullmatch=True)
ADDRESSES = st.integers(1, 250).map(lambda number: f"10.1.1.{number}")
PATHS = Paths(Path("/etc/k"), Path("/var/k"), Path("/run/k"), Path("/etc/k/cert.pem"), Path("/etc/k/key.pem"))


@st.composite
def sections(draw: st.DrawFn) -> KamailioSection:
    some_emergency: bool = draw(st.booleans())
    trunks = [
        {
            "id": name,
            "gateways": [
                {
                    "address": f"10.2.{place}.{number}",
                    "transport": draw(st.sampled_from(["udp", "tcp", "tls"])),
                    "priority": draw(st.integers(0, 3)),
                    "weight": draw(st.integers(1, 100)),
                }
                for number in range(1, draw(st.integers(2, 4)))
            ],
            "calls": draw(st.none() | st.integers(1, 100)),
            "permitted": draw(st.lists(PREFIXES, max_size=3)),
            "codecs": draw(st.lists(st.sampled_from(get_args(Codec)), unique=True, max_size=3)),
        }
        for place, name in enumerate(draw(st.lists(NAMES, unique=True, max_size=3)))
    ]
    names = [one["id"] for one in trunks]
    some = st.lists(st.sampled_from(names or ["none"]), min_size=1, max_size=3, unique=True)
    kinds = draw(st.lists(st.sampled_from(["udp", "tcp", "tls", "ws", "wss"]), min_size=1, unique=True))
    parts: dict[str, Any] = {
        "proxy": {
            "id": "p1",
            "appliance": "a",
            "address": draw(ADDRESSES),
            "workers": draw(st.integers(1, 8)),
            "listeners": [{"transport": kind, "port": 5060 + place} for place, kind in enumerate(kinds)],
        },
        "virtual": draw(st.lists(st.sampled_from(["10.9.9.9", "10.9.9.8"]), max_size=2, unique=True)),
        "peers": draw(st.lists(st.just({"address": "10.1.2.3", "port": 5060}), max_size=1)),
        "relays": [
            {
                "id": name,
                "appliance": "a",
                "address": f"10.3.0.{place}",
                "region": draw(st.sampled_from(["default", "x"])),
            }
            for place, name in enumerate(draw(st.lists(NAMES, unique=True, min_size=1, max_size=3)), 1)
        ],
        "media_servers": [],
        "trunks": trunks,
        "plan": [
            {"prefix": prefix, "trunks": draw(some), "strip": draw(st.integers(0, 5)), "prepend": draw(PREFIXES)}
            for prefix in (draw(st.lists(PREFIXES, unique=True, max_size=4)) if names else [])
        ],
        "emergency": {"numbers": draw(st.lists(DIGITS, min_size=1, max_size=3)), "trunks": draw(some)}
        if names and some_emergency
        else None,
        "topology_hiding": draw(st.booleans()),
        "nat": draw(st.booleans()),
        "stir": draw(st.none() | st.just({"key": "secret:k", "certificate": "https://c.example/a$b!c.pem"})),
        "protection": {"density": draw(st.integers(10, 65535)), "window": draw(st.integers(1, 60))},
    }
    return section(**parts)


@pytest.mark.daemon
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(sections())
def test_kamailio_takes_every_section(wanted: KamailioSection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(Path(folder), wanted)
        proxy.write()
        done = proxy.check()
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr
        assert "CRITICAL" not in done.stderr
        assert "WARNING" not in done.stderr


@given(sections())
def test_no_line_of_a_table_is_lost(wanted: KamailioSection) -> None:
    found = tables(wanted, ACCOUNTS)
    plan = {str(prefix): value for prefix, value in found.rows["plan"]}
    for route in wanted.plan:
        value = plan[route.prefix or "0"]
        if route.prefix:
            strip, prepend, rules = str(value).split("|")
            assert (int(strip), prepend) == (route.strip, route.prepend)
            for name in route.trunks:
                trunk = next(one for one in wanted.trunks if one.id == name)
                assert all(str(trunk_set(name, one.priority)) in rules for one in trunk.gateways)
    assert {row[0] for row in found.rows["rtpengine"]} >= {1}
    assert len(found.rows["rtpengine"]) == 2 * len(wanted.relays)
    assert "drain" not in found.hashes["ctl"]


def test_what_is_hot_changes_nothing_in_the_configuration() -> None:
    before = section()
    hot: dict[str, Any] = {
        "subscribers": [],
        "services": [{"number": "9002", "kind": "conference"}],
        "plan": [{"prefix": "0", "trunks": ["south"]}],
        "limits": {"calls": 3, "rate": 2, "contacts": 1, "registration": [90, 100]},
        "media_servers": [],
        "relays": [{"id": "r9", "appliance": "x", "address": "10.0.0.9", "drained": True}],
        "domains": [DOMAIN, "second.example"],
        "trunks": [
            {"id": "north", "gateways": [{"address": "127.0.0.21", "weight": 7}], "calls": 4},
            {"id": "south", "gateways": [{"address": "127.0.0.22"}]},
        ],
    }
    for name, value in hot.items():
        after = section(**{name: value})
        assert render(after, PATHS)["kamailio.cfg"] == render(before, PATHS)["kamailio.cfg"], name
    assert "pl" not in render(before, PATHS)["kamailio.cfg"].split("\n")[0]


def test_registrations_are_shared_with_who_shares_an_address_and_with_nobody_else() -> None:
    other = {"address": "127.0.0.3", "port": 5060}
    shared = render(section(virtual=["127.0.0.9"], peers=[other]), PATHS)["kamailio.cfg"]
    assert f"listen=tcp:127.0.0.1:{SHARING_PORT}\n" in shared
    assert f"listen=tcp:127.0.0.9:{SHARING_PORT}" not in shared
    assert f'"notification_address", "sip:127.0.0.3:{SHARING_PORT};transport=tcp"' in shared
    assert "server_id=1\n" in shared
    second = {"id": "p2", "appliance": "pop2", "address": "127.0.0.3"}
    turned = section(proxy=second, virtual=["127.0.0.9"], peers=[{**other, "address": "127.0.0.1"}])
    assert "server_id=2\n" in render(turned, PATHS)["kamailio.cfg"]
    for alone in (section(), section(virtual=["127.0.0.9"]), section(siblings=[other])):
        text = render(alone, PATHS)["kamailio.cfg"]
        assert "#!define WITH_SHARING" not in text
        assert "server_id" not in text.partition("# ---- modules.cfg")[0]
        assert str(SHARING_PORT) not in text


def test_a_line_of_accounts_that_is_none_is_named_and_not_shown() -> None:
    for line in ("alice", f"alice:{DOMAIN}:secret", f"alice:elsewhere.example:{'a' * 32}"):
        with pytest.raises(RuleError, match="line 2 of secret:accounts") as refused:
            tables(section(), f"# comment\n{line}\n")
        assert "md5sum" in refused.value.remedy
        assert line not in str(refused.value)


def test_a_density_that_pike_cannot_hold_is_refused() -> None:
    most = section(protection={"density": MAX_DENSITY})
    assert f'"reqs_density_per_unit", {MAX_DENSITY})' in render(most, PATHS)["kamailio.cfg"]
    with pytest.raises(ValidationError, match=r"protection\.density"):
        section(protection={"density": MAX_DENSITY + 1})


def test_two_trunks_share_no_address() -> None:
    trunks = [{"id": name, "gateways": [{"address": "10.0.0.1"}]} for name in ("one", "two")]
    with pytest.raises(RuleError, match=r"10\.0\.0\.1"):
        tables(section(trunks=trunks, plan=[], emergency=None), "")


def test_paths_that_the_file_cannot_hold_and_a_key_that_is_missing() -> None:
    with pytest.raises(RuleError, match="cannot stand"):
        render(section(), Paths(Path("/a b"), Path("/v"), Path("/r"), Path("/c")))
    signing = section(stir={"key": "secret:k", "certificate": "https://c.example/x"})
    with pytest.raises(RuleError, match="no file"):
        render(signing, Paths(Path("/a"), Path("/v"), Path("/r"), Path("/c")))


def test_the_databases_are_made_twice_without_harm(tmp_path: Path) -> None:
    for _ in range(2):
        Proxy(tmp_path, section())
    done = subprocess.run(
        ["sqlite3", str(tmp_path / "calls.db"), "PRAGMA journal_mode; SELECT count(*) FROM cdrs;"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["wal", "0"]
