"""The models together: SMF, UPFs, a gNB with a UE that is a device."""

from __future__ import annotations

import json
import socket
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.core5g.conformance.network import Network
from tests.lab.mobile.models import GNB, ask, awaited, ping, ran

pytestmark = pytest.mark.root


def test_any_program_has_the_ues_addresses(core: Network, tmp_path: Path) -> None:
    routes = ("--route", "203.0.113.0/24", "--route", "2001:db8:cd::/48")
    with ran(tmp_path, "--tun", "uetun", "--pdn-type", "ipv4v6", *routes) as ues:
        assert ping("203.0.113.10")
        assert ping("2001:db8:cd::10")
        assert ues[0]["ue_ips"] == ["10.45.0.2", "2001:db8:45:1::1"]
        info = ask("/pdu-info?page=0&page_size=10")
        assert info["pager"]["count"] == 1
        pdu = info["items"][0]["pdu"][0]
        assert (pdu["ipv4"], pdu["pdu_state"]) == ("10.45.0.2", "active")
        assert pdu["n3"]["gnb"] == {"teid": ues[0]["teid"], "addr": "[10.50.0.2]:2152"}
        assert pdu["n3"]["upf"]["addr"] == "[10.50.0.7]:2152"
        assert pdu["n3"]["upf"]["pdr_id"] == 2


def test_many_ues_answer_from_behind_the_upf(core: Network, tmp_path: Path) -> None:
    control = tmp_path / "ran.sock"
    with ran(tmp_path, "--ues", "50", "--control", str(control), "--page") as ues:
        assert len({ue["ue_ips"][0] for ue in ues}) == 50
        last = ues[-1]

        def pinged() -> bool:
            return ping(last["ue_ips"][0], core.namespaces["upf"])

        assert pinged()
        with socket.socket(socket.AF_UNIX) as speaking:
            speaking.connect(str(control))
            lines = speaking.makefile("rw", encoding="utf-8")

            def act(what: str) -> dict[str, Any]:
                lines.write(json.dumps({"ue": last["supi"], "act": what}) + "\n")
                lines.flush()
                told: dict[str, Any] = json.loads(lines.readline())
                return told

            assert act("handover")["teid"] != last["teid"]
            assert awaited(lambda: act("stats")["end_markers"]) == 1
            assert pinged()
            assert act("idle")["active"] is False
            assert pinged()
            assert act("stats")["active"] is True
            assert ask(f"/model/sessions/{last['id']}")["paged"] == 1
            act("detach")
            assert "error" in act("stats")
    assert ask("/model/sessions") == []


def test_what_is_no_gtpu_is_counted_and_nothing_else_comes_of_it(core: Network, tmp_path: Path) -> None:
    control = tmp_path / "ran.sock"
    malformed = (
        b"",
        b"\x30",
        b"\x50\xff" + bytes(6),
        b"\x36\xff\0\4" + bytes(7),
        b"\x34\xff\0\4" + bytes(7) + b"\x85\0",
    )
    with ran(tmp_path, "--control", str(control)) as ues:
        (ue,) = ues
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending, socket.socket(socket.AF_UNIX) as speaking:
            for data in malformed:
                sending.sendto(data, (GNB["address"], 2152))
            speaking.connect(str(control))
            lines = speaking.makefile("rw", encoding="utf-8")

            def counted() -> int:
                lines.write(json.dumps({"ue": ue["supi"], "act": "stats"}) + "\n")
                lines.flush()
                return int(json.loads(lines.readline())["malformed"])

            assert awaited(lambda: counted() == len(malformed))
            assert ping(ue["ue_ips"][0], core.namespaces["upf"])
            assert counted() == len(malformed)


def test_the_tac_selects_a_upf_for_any_dnn_since_it_is_an_or(core: Network) -> None:
    told = ask("/model/sessions", {"supi": "imsi-999700000000009", "dnn": "internet", "tac": 7, "gnb": GNB})
    other = ask("/model/sessions", {"supi": "imsi-999700000000008", "dnn": "internet", "tac": 7, "gnb": GNB})
    assert {told["n4"], other["n4"]} == {"10.50.0.7", "10.50.0.8"}
    assert ask("/model/sessions", {"supi": "imsi-999700000000007", "dnn": "cdn", "gnb": GNB})["n4"] == "10.50.0.8"


def test_one_ue_has_one_address(core: Network) -> None:
    first = ask("/model/sessions", {"supi": "imsi-1", "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})
    assert first["ue_ip"] == "10.45.9.9"
    for supi, code in (("imsi-1", 409), ("imsi-2", 409)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask("/model/sessions", {"supi": supi, "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})
        caught.value.close()
        assert caught.value.code == code
    ask(f"/model/sessions/{first['id']}", method="DELETE")
    assert ask("/model/sessions", {"supi": "imsi-2", "dnn": "internet", "ue_ip": "10.45.9.9", "gnb": GNB})["id"]
