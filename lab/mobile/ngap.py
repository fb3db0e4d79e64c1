"""N2 as far as a gNB's setup (TS 38.413 clause 8.7.1), in pycrate's ASN.1: registration and NAS security are not here.

pycrate is a tool of the lab, loaded when it is needed: that takes two seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

PPID = 60
"""SCTP payload protocol of NGAP (TS 38.412 clause 7)."""

PORT = 38412
_NG_SETUP = 21
_GNB_ID, _NAME, _TAS, _PAGING_DRX, _AMF_NAME = 27, 82, 102, 21, 1


class NgapError(Exception):
    """The AMF's answer is not the one that was asked for."""


@dataclass(frozen=True)
class Gnb:
    """`id`: 22 bits. `slices`: SST and SD, None for a slice without one."""

    mcc: str
    mnc: str
    name: str = "sv-lab-gnb"
    id: int = 1
    tac: int = 1
    slices: tuple[tuple[int, str | None], ...] = ((1, None),)


def plmn(mcc: str, mnc: str) -> bytes:
    """TS 38.413 clause 9.3.3.5: digits in pairs, the lower half first; a two digit MNC is filled up with F."""
    third = mnc[2] if len(mnc) == 3 else "f"
    pairs = (mcc[1] + mcc[0], third + mcc[2], mnc[1] + mnc[0])
    return bytes(int(pair, 16) for pair in pairs)


def _pdu() -> Any:
    return import_module("pycrate_asn1dir.NGAP").NGAP_PDU_Descriptions.NGAP_PDU


def setup_request(gnb: Gnb) -> bytes:
    """NGSetupRequest."""
    identity = plmn(gnb.mcc, gnb.mnc)
    slices = [
        {"s-NSSAI": {"sST": bytes((sst,)), **({} if sd is None else {"sD": bytes.fromhex(sd)})}}
        for sst, sd in gnb.slices
    ]
    broadcast = [{"pLMNIdentity": identity, "tAISliceSupportList": slices}]
    areas = [{"tAC": gnb.tac.to_bytes(3), "broadcastPLMNList": broadcast}]
    node = ("globalGNB-ID", {"pLMNIdentity": identity, "gNB-ID": ("gNB-ID", (gnb.id, 22))})
    ies = [
        {"id": _GNB_ID, "criticality": "reject", "value": ("GlobalRANNodeID", node)},
        {"id": _NAME, "criticality": "ignore", "value": ("RANNodeName", gnb.name)},
        {"id": _TAS, "criticality": "reject", "value": ("SupportedTAList", areas)},
        {"id": _PAGING_DRX, "criticality": "ignore", "value": ("PagingDRX", "v128")},
    ]
    value = ("NGSetupRequest", {"protocolIEs": ies})
    pdu = _pdu()
    pdu.set_val(("initiatingMessage", {"procedureCode": _NG_SETUP, "criticality": "reject", "value": value}))
    data: bytes = pdu.to_aper()
    return data


def amf_name(data: bytes) -> str:
    """Of an NGSetupResponse. Raises NgapError for everything else."""
    pdu = _pdu()
    try:
        pdu.from_aper(data)
        outcome, message = pdu.get_val()
        kind, content = message["value"]
    except Exception as error:  # pycrate raises what its decoder meets
        raise NgapError(f"no NGAP message: {data.hex()}") from error
    if outcome != "successfulOutcome" or kind != "NGSetupResponse":
        raise NgapError(f"the AMF answers {outcome}, {kind}")
    return next((str(ie["value"][1]) for ie in content["protocolIEs"] if ie["id"] == _AMF_NAME), "")
