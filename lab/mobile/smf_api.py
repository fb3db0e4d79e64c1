"""The HTTP side of the SMF model: /metrics and /pdu-info as the real one has them, and /model, which no real one has.

`POST /model/sessions {"supi", "dnn", "gnb": {"address", "teid"}?, "psi"?, "pdn_type"?, "tac"?, "cell"?, "ue_ip"?}`
stands for registration and session establishment; without `gnb` the session stays idle. Of one session, by its id:
`GET`, `DELETE`, `POST .../idle`, `POST .../active {"gnb"}`, `POST .../handover {"gnb"}`. `GET /model/peers`: the UPFs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.mobile import MODEL, n4, pfcp
from lab.mobile.http import Answer, HttpError, as_json, metrics_text, paged
from lab.mobile.n4 import Tunnel

if TYPE_CHECKING:
    from lab.mobile.smf import Served, Smf

_WAIT_S = 60.0
_SESSIONS = "/model/sessions"


class Api:
    def __init__(self, smf: Smf) -> None:
        self.smf = smf

    def handle(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Raises HttpError."""
        if path == "/metrics":
            return metrics_text(self._read(self._metrics))
        if path == "/pdu-info":
            return paged(self._read(self._pdu_info), path, query)
        if path == "/model/peers":
            return as_json(self._read(self._peers))
        if path == _SESSIONS and method == "POST":
            return as_json(self._create(_asked(body)), 201)
        if path == _SESSIONS:
            return as_json(self._read(lambda: [_told(served) for served in self.smf.sessions.values()]))
        if path.startswith(f"{_SESSIONS}/"):
            key, _, verb = path.removeprefix(f"{_SESSIONS}/").partition("/")
            return self._one(method, key, verb, body)
        raise HttpError(404, "not found")

    def _read(self, make: Any) -> Any:
        return self.smf.call(lambda done: done.set_result(make()), _WAIT_S)

    def _served(self, key: str) -> Served:
        served = self.smf.sessions.get(key)
        if served is None:
            raise HttpError(404, f"no session {key}")
        return served

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        for key in ("supi", "dnn"):
            if not isinstance(asked.get(key), str):
                raise HttpError(400, f"{key} is missing")
        gnb = _tunnel(asked["gnb"]) if asked.get("gnb") else None

        def act(done: Future[Any]) -> None:
            if f"{asked['supi']}-{asked.get('psi', 1)}" in self.smf.sessions:
                raise HttpError(409, "the UE has this session already")
            served = self.smf.new_session(asked)
            build = partial(n4.establishment, session=served.session, address=self.smf.address)
            done.add_done_callback(lambda made: self.smf.forget(served) if made.exception() else None)
            self.smf.counters["establishments"] += 1
            self.smf.ask(served, build, done, partial(self.smf.established, served))

        served = self.smf.call(act, _WAIT_S)
        if gnb is not None:
            self._to_gnb(served.id, gnb)
        told: dict[str, Any] = self._read(lambda: _told(served))
        return told

    def _one(self, method: str, key: str, verb: str, body: bytes) -> Answer:
        if method == "GET" and not verb:
            return as_json(self._read(lambda: _told(self._served(key))))
        if method == "DELETE" and not verb:
            self.smf.call(partial(self._delete, key), _WAIT_S)
            return 204, "application/json", b""
        if method == "POST" and verb == "idle":
            self.smf.call(partial(self._idle, key), _WAIT_S)
        elif method == "POST" and verb in ("active", "handover"):
            self._to_gnb(key, _tunnel(_asked(body).get("gnb")), leaving=verb == "handover")
        else:
            raise HttpError(404, "not found")
        return as_json(self._read(lambda: _told(self._served(key))))

    def _to_gnb(self, key: str, gnb: Tunnel, *, leaving: bool = False) -> None:
        def act(done: Future[Any]) -> None:
            served = self._served(key)
            build = partial(n4.to_gnb, session=served.session, gnb=gnb, leaving=leaving)

            def accepted(_answer: object) -> None:
                served.session.gnb, served.active = gnb, True

            self.smf.ask(served, build, done, accepted)

        self.smf.call(act, _WAIT_S)

    def _idle(self, key: str, done: Future[Any]) -> None:
        served = self._served(key)

        def accepted(_answer: object) -> None:
            served.active = False

        self.smf.ask(served, partial(n4.idle, session=served.session), done, accepted)

    def _delete(self, key: str, done: Future[Any]) -> None:
        served = self._served(key)
        build = partial(n4.deletion, session=served.session)
        done.add_done_callback(lambda _made: self.smf.forget(served))
        self.smf.ask(served, build, done, lambda _answer: None)

    def _peers(self) -> list[dict[str, Any]]:
        return [{"address": upf.peer[0], "associated": upf.associated} for upf in self.smf.selection.upfs]

    def _metrics(self) -> dict[str, float]:
        sessions = len(self.smf.sessions)
        return {
            "fivegs_smffunction_sm_n4sessionestabreq": self.smf.counters["establishments"],
            'fivegs_smffunction_sm_sessionnbr{plmnid="99970",snssai="01"}': sessions,
            "ues_active": len({served.session.supi for served in self.smf.sessions.values()}),
            "bearers_active": sessions,
            "pfcp_peers_active": sum(upf.associated for upf in self.smf.selection.upfs),
            "pfcp_sessions_active": sessions,
            "gtp2_sessions_active": 0,
        }

    def _pdu_info(self) -> list[dict[str, Any]]:
        by_supi: dict[str, list[Served]] = {}
        for served in self.smf.sessions.values():
            by_supi.setdefault(served.session.supi, []).append(served)
        return [
            {
                "supi": supi,
                "pdu": [_pdu(served) for served in own],
                "ue_activity": "active" if any(served.active for served in own) else "idle",
            }
            for supi, own in by_supi.items()
        ]


def _asked(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body or b"{}")
    except ValueError as error:
        raise HttpError(400, f"not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise HttpError(400, "not an object")
    return asked


def _tunnel(value: object) -> Tunnel:
    try:
        if isinstance(value, dict):
            return Tunnel(int(value["teid"]), pfcp.address_of(str(value["address"])))
    except (KeyError, ValueError) as error:
        raise HttpError(400, f"gnb: {error}") from error
    raise HttpError(400, "gnb is missing: an address and a teid")


def _told(served: Served) -> dict[str, Any]:
    session = served.session
    addresses = [str(address) for address in (session.v4, session.v6) if address is not None]
    return {
        "model": MODEL,
        "id": served.id,
        "supi": session.supi,
        "dnn": session.dnn,
        "ue_ip": addresses[0],
        "ue_ips": addresses,
        "upf": session.upf and {"address": str(session.upf.address), "teid": session.upf.teid},
        "n4": served.upf.peer[0],
        "gnb": session.gnb and {"address": str(session.gnb.address), "teid": session.gnb.teid},
        "qfi": session.qfi,
        "state": "active" if served.active else "idle",
        "paged": served.paged,
        "reported_bytes": served.usage["total"],
    }


def _pdu(served: Served) -> dict[str, Any]:
    session = served.session
    ends = {"gnb": session.gnb, "upf": session.upf}
    n3: dict[str, dict[str, Any]] = {
        name: {"teid": end.teid, "addr": f"[{end.address}]:2152"} for name, end in ends.items() if end is not None
    }
    if "upf" in n3:
        n3["upf"]["pdr_id"] = 2
    return {
        "psi": session.psi,
        "dnn": session.dnn,
        **({"ipv4": str(session.v4)} if session.v4 else {}),
        **({"ipv6": str(session.v6)} if session.v6 else {}),
        "snssai": {"sst": session.sst, "sd": session.sd},
        "qos_flows": [{"qfi": session.qfi, "5qi": 9}],
        **({"n3": n3} if n3 else {}),
        "pdu_state": "active" if served.active else "inactive",
        "ue_location_timestamp": int(served.located_at * 1e6),
    }
