"""The info API and the metrics as Open5GS gives them, page by page, and what is neither."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core5g.open5gs.poller import (
    InfoClient,
    PduSession,
    RegisteredUe,
    TunnelEnd,
    parse_metrics,
    read_pdu_sessions,
    read_ue,
    session_count,
)
from nf.errors import UnavailableError

METRICS = """# HELP fivegs_smffunction_sm_sessionnbr Active Sessions
# TYPE fivegs_smffunction_sm_sessionnbr gauge
fivegs_smffunction_sm_sessionnbr{plmnid="99970",snssai="1"} 3
fivegs_smffunction_sm_sessionnbr{plmnid="99970",snssai="1000080"} 4
# HELP fivegs_upffunction_sm_n4sessionestabreq Number of requested N4 session establishments
# TYPE fivegs_upffunction_sm_n4sessionestabreq counter
fivegs_upffunction_sm_n4sessionestabreq 12
# HELP pfcp_peers_active Active PFCP peers
# TYPE pfcp_peers_active gauge
pfcp_peers_active 2
"""

PDU: dict[str, Any] = {
    "supi": "imsi-999700000000001",
    "pdu": [
        {
            "psi": 1,
            "dnn": "internet",
            "ipv4": "10.45.0.11",
            "snssai": {"sst": 1, "sd": "ffffff"},
            "qos_flows": [{"qfi": 1, "5qi": 9}],
            "n3": {
                "gnb": {"teid": 76, "addr": "[192.168.168.100]:2152"},
                "upf": {"teid": 11426, "addr": "[192.168.168.7]:2152", "pdr_id": 2},
            },
            "pdu_state": "active",
        }
    ],
    "ue_activity": "active",
}


def ue(number: int) -> dict[str, Any]:
    return {
        "supi": f"imsi-99970{number:010}",
        "cm_state": "connected" if number % 2 else "idle",
        "location": {"nr_tai": {"plmn": "99970", "tac": 1}, "nr_cgi": {"nci": 1638401, "gnb_id": 100, "cell_id": 1}},
    }


def gnb(number: int) -> dict[str, Any]:
    return {
        "gnb_id": number,
        "plmn": "99970",
        "ng": {"setup_success": True, "sctp": {"peer": f"[10.50.0.{number}]:38412", "max_out_streams": 2}},
        "supported_ta_list": [{"tac": "000001"}],
        "num_connected_ues": 1,
    }


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[str]:
    """`answers`: path -> text, or items that are given page by page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = answers.get(parts.path)
            if isinstance(found, list):
                query = parse_qs(parts.query)
                page, size = int(query["page"][0]), int(query["page_size"][0])
                items = found[page * size : (page + 1) * size]
                found = json.dumps({"items": items, "pager": {"page": page, "page_size": size, "count": len(items)}})
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


async def test_metrics_are_summed_over_their_labels() -> None:
    with serving({"/metrics": METRICS}) as address:
        metrics = await InfoClient(address).metrics()
    assert metrics["fivegs_smffunction_sm_sessionnbr"] == 7
    assert metrics["pfcp_peers_active"] == 2
    assert metrics["fivegs_upffunction_sm_n4sessionestabreq"] == 12
    assert session_count("smf", metrics) == 7
    assert session_count("upf", {"fivegs_upffunction_upf_sessionnbr": 0.0, "pfcp_sessions_active": 9.0}) == 0
    assert session_count("upf", {"fivegs_ep_n3_gtp_indatapktn3upf": 5.0}) is None
    assert session_count("nrf", metrics) is None


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 250])
async def test_all_pages_are_read(count: int) -> None:
    with serving({"/ue-info": [ue(number) for number in range(count)]}) as address:
        found = await InfoClient(address).registered()
    assert len(found) == count
    assert len({one.supi for one in found}) == count


async def test_what_does_not_answer_is_unavailable() -> None:
    with serving({}) as address, pytest.raises(UnavailableError, match="status 404"):
        await InfoClient(address).pdu_sessions()
    with pytest.raises(UnavailableError, match="no answer"):
        await InfoClient(address).metrics()


async def test_gnbs_are_told_as_the_amf_tells_them() -> None:
    told = [gnb(number) for number in range(101)]
    with serving({"/gnb-info": told}) as address:
        assert await InfoClient(address).gnbs() == tuple(told)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"items": 5}', "{", "null"])
async def test_what_is_no_info_api_is_told(body: str) -> None:
    with serving({"/gnb-info": body}) as address, pytest.raises(UnavailableError, match="no info API"):
        await InfoClient(address).gnbs()


def test_a_session_is_read() -> None:
    assert read_pdu_sessions(PDU) == (
        PduSession(
            supi="imsi-999700000000001",
            psi=1,
            dnn="internet",
            ipv4="10.45.0.11",
            sst=1,
            sd="ffffff",
            gnb=TunnelEnd(76, "192.168.168.100"),
            upf=TunnelEnd(11426, "192.168.168.7"),
            state="active",
        ),
    )


def test_an_epc_session_has_an_apn() -> None:
    (found,) = read_pdu_sessions({"supi": "1", "pdu": [{"ebi": 5, "apn": "internet", "ipv4": "10.45.0.2"}]})
    assert (found.psi, found.dnn, found.gnb, found.state) == (5, "internet", None, "unknown")


def test_a_ue_is_read() -> None:
    assert read_ue(ue(1)) == RegisteredUe("imsi-999700000000001", connected=True, tac=1, nci=1638401, gnb_id=100)
    assert read_ue({"suci": "suci-0-999-70"}) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["pdu", "n3", "gnb", "upf", "teid", "addr", "dnn", "snssai", "supi"]), inner)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["supi", "pdu", "location", "cm_state"]), json_values))
def test_no_json_breaks_the_reader(item: dict[str, Any]) -> None:
    read_pdu_sessions(item)
    read_ue(item)


@given(st.text())
def test_no_text_breaks_the_reader_of_metrics(text: str) -> None:
    with suppress(UnavailableError):
        parse_metrics(text)
