"""Asks running functions: Prometheus' /metrics, and the info API with /pdu-info, /ue-info and /gnb-info."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from core5g import info_api
from nf.errors import UnavailableError

SESSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "upf": ("fivegs_upffunction_upf_sessionnbr", "pfcp_sessions_active"),
    "smf": ("fivegs_smffunction_sm_sessionnbr", "pfcp_sessions_active", "bearers_active"),
    "amf": ("fivegs_amffunction_rm_registeredsubnbr", "ran_ue"),
    "mme": ("mme_session",),
}
"""What tells how many would notice a restart, the first that is there: sessions, or at the AMF registered UEs."""


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """One end of an N3 tunnel (TS 29.281). `address` without its port."""

    teid: int
    address: str


@dataclass(frozen=True, slots=True)
class PduSession:
    """An entry of the SMF's /pdu-info. `state`: active, inactive or unknown, as the SMF says it."""

    supi: str
    psi: int
    dnn: str
    ipv4: str = ""
    ipv6: str = ""
    sst: int | None = None
    sd: str = ""
    gnb: TunnelEnd | None = None
    upf: TunnelEnd | None = None
    state: str = "unknown"


@dataclass(frozen=True, slots=True)
class RegisteredUe:
    """An entry of the AMF's /ue-info. `connected`: CM-CONNECTED (TS 23.501 clause 5.3.3); `nci`: NR cell identity."""

    supi: str
    connected: bool
    tac: int | None = None
    nci: int | None = None
    gnb_id: int | None = None


class InfoClient:
    """Of one function, `HOST:PORT`. Raises UnavailableError when it does not answer, or not what it should."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def metrics(self) -> dict[str, float]:
        """Name -> sum over its labels."""
        return parse_metrics((await info_api.get(self._address, "/metrics")).decode(errors="replace"), self._address)

    async def pdu_sessions(self) -> tuple[PduSession, ...]:
        return tuple(one for item in await self._items("/pdu-info") for one in read_pdu_sessions(item))

    async def registered(self) -> tuple[RegisteredUe, ...]:
        return tuple(one for item in await self._items("/ue-info") if (one := read_ue(item)) is not None)

    async def gnbs(self) -> tuple[Mapping[str, Any], ...]:
        """gNBs with an NG Setup, as the AMF tells them."""
        return tuple(await self._items("/gnb-info"))

    async def _items(self, path: str) -> list[dict[str, Any]]:
        return await info_api.items(self._address, path)


def parse_metrics(text: str, where: str = "") -> dict[str, float]:
    """Raises UnavailableError for what is not of Prometheus' text format."""
    sums: dict[str, float] = defaultdict(float)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                # The parser writes _total behind a counter's name, which Open5GS does not have there.
                name = sample.name.removesuffix("_total") if family.type == "counter" else sample.name
                sums[name] += sample.value
    except (ValueError, KeyError, IndexError, TypeError):
        raise UnavailableError("what answers are no metrics", where=where) from None
    return dict(sums)


def session_count(kind: str, metrics: Mapping[str, float]) -> int | None:
    """None when the function does not tell."""
    values = [metrics[name] for name in SESSIONS.get(kind, ()) if name in metrics]
    return max(0, round(values[0])) if values else None


def read_pdu_sessions(item: Mapping[str, Any]) -> tuple[PduSession, ...]:
    """Of one UE. What has no DNN or APN is none."""
    listed = item.get("pdu")
    found = []
    for pdu in listed if isinstance(listed, list) else ():
        dnn = (pdu.get("dnn") or pdu.get("apn")) if isinstance(pdu, dict) else None
        if not isinstance(dnn, str):
            continue
        n3, snssai = _mapping(pdu.get("n3")), _mapping(pdu.get("snssai"))
        found.append(
            PduSession(
                supi=str(item.get("supi", "")),
                psi=_whole(pdu.get("psi")) or _whole(pdu.get("ebi")) or 0,
                dnn=dnn,
                ipv4=str(pdu.get("ipv4") or ""),
                ipv6=str(pdu.get("ipv6") or ""),
                sst=_whole(snssai.get("sst")),
                sd=str(snssai.get("sd") or ""),
                gnb=_end(n3.get("gnb")),
                upf=_end(n3.get("upf")),
                state=str(pdu.get("pdu_state") or "unknown"),
            )
        )
    return tuple(found)


def read_ue(item: Mapping[str, Any]) -> RegisteredUe | None:
    """None for what has no SUPI: a UE that has not registered yet."""
    supi = item.get("supi")
    if not isinstance(supi, str) or not supi:
        return None
    location = _mapping(item.get("location"))
    tai, cgi = _mapping(location.get("nr_tai")), _mapping(location.get("nr_cgi"))
    return RegisteredUe(
        supi=supi,
        connected=item.get("cm_state") == "connected",
        tac=_whole(tai.get("tac")),
        nci=_whole(cgi.get("nci")),
        gnb_id=_whole(cgi.get("gnb_id")),
    )


def _end(data: object) -> TunnelEnd | None:
    """`addr` is `[ADDRESS]:PORT`."""
    end = _mapping(data)
    teid, address = _whole(end.get("teid")), end.get("addr")
    if teid is None or not isinstance(address, str):
        return None
    return TunnelEnd(teid, address.removeprefix("[").partition("]")[0] if address.startswith("[") else address)


def _mapping(data: object) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


def _whole(data: object) -> int | None:
    return data if isinstance(data, int) and not isinstance(data, bool) else None
