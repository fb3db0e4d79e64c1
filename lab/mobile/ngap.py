"""NGAP messages (TS 38.413 clause 9) by pycrate's ASN.1, and a gNB's setup (clause 8.7.1).

Elements go by the names that the standard's ASN.1 has. pycrate is a tool of the lab, loaded when it is needed: that
takes two seconds. Its objects are one of a process: only one thread encodes and decodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from lab.mobile.identities import plmn

PPID = 60
"""SCTP payload protocol of NGAP (TS 38.412 clause 7)."""

PORT = 38412
INITIATING, SUCCESSFUL, UNSUCCESSFUL = "initiatingMessage", "successfulOutcome", "unsuccessfulOutcome"
_TYPES = {"DefaultPagingDRX": "PagingDRX", "UL-NGU-UP-TNLInformation": "UPTransportLayerInformation"}
"""Of elements whose type has another name than they have."""
_IGNORED = frozenset(
    {
        *("RANNodeName", "DefaultPagingDRX", "RRCEstablishmentCause", "UEContextRequest", "UserLocationInformation"),
        *("PDUSessionResourceSetupListCxtRes", "PDUSessionResourceSetupListSURes", "PDUSessionResourceListCxtRelCpl"),
        *("PDUSessionResourceReleasedListRelRes", "PDUSessionResourceFailedToSetupListSURes", "Cause", "AMFName"),
        *("PDUSessionResourceFailedToSetupListCxtRes", "PDUSessionResourceFailedToSetupListCxtFail"),
    }
)
"""Elements that a receiver which does not know them passes over; every other one is to be refused."""
_IDS = ("AMF-UE-NGAP-ID", "RAN-UE-NGAP-ID")
"""Passed over in answers."""


class NgapError(Exception):
    """The AMF's answer is not the one that was asked for, or nothing that NGAP knows."""


@dataclass(frozen=True)
class Gnb:
    """`id`: 22 bits. `slices`: SST and SD, None for a slice without one."""

    mcc: str
    mnc: str
    name: str = "sv-lab-gnb"
    id: int = 1
    tac: int = 1
    slices: tuple[tuple[int, str | None], ...] = ((1, None),)


@dataclass(frozen=True, slots=True)
class Message:
    """`outcome`: INITIATING, SUCCESSFUL or UNSUCCESSFUL. `procedure`: its name without `id-`. Values are pycrate's."""

    outcome: str
    procedure: str
    name: str
    ies: Mapping[str, Any]

    def need(self, name: str) -> Any:
        """Raises NgapError."""
        if name not in self.ies:
            raise NgapError(f"{name} is missing in {self.name}")
        return self.ies[name]


def _pdu() -> Any:
    return import_module("pycrate_asn1dir.NGAP").NGAP_PDU_Descriptions.NGAP_PDU


@cache
def _numbers() -> tuple[dict[str, int], dict[str, int]]:
    """Of procedures and of elements, by name."""
    constants = import_module("pycrate_asn1dir.NGAP").NGAP_Constants
    procedures: dict[str, int] = {}
    found: dict[str, int] = {}
    for value in constants._all_:
        name = value._name  # noqa: SLF001 - no other way to it
        if name.startswith("id-"):
            kind = value._typeref.called[1]  # noqa: SLF001 - nor to this
            table = procedures if kind == "ProcedureCode" else found
            table[name.removeprefix("id-")] = int(value.get_val())
    return procedures, found


@cache
def _names() -> tuple[dict[int, str], dict[int, str]]:
    procedures, found = _numbers()
    return {number: name for name, number in procedures.items()}, {number: name for name, number in found.items()}


def encode(outcome: str, procedure: str, name: str, ies: Mapping[str, Any], criticality: str = "reject") -> bytes:
    """A message of this name; `criticality`: of its procedure."""
    content = (name, {"protocolIEs": elements(ies, answer=outcome != INITIATING)})
    pdu = _pdu()
    number = _numbers()[0][procedure]
    pdu.set_val((outcome, {"procedureCode": number, "criticality": criticality, "value": content}))
    data: bytes = pdu.to_aper()
    return data


def elements(ies: Mapping[str, Any], *, answer: bool = False) -> list[dict[str, Any]]:
    """As they stand in a message or a transfer."""
    numbers = _numbers()[1]
    return [
        {
            "id": numbers[ie],
            "criticality": "ignore" if ie in _IGNORED or (answer and ie in _IDS) else "reject",
            "value": (_TYPES.get(ie, ie), value),
        }
        for ie, value in ies.items()
    ]


def decode(data: bytes) -> Message:
    """Raises NgapError."""
    procedures, names = _names()
    pdu = _pdu()
    try:
        pdu.from_aper(data)
        outcome, message = pdu.get_val()
        name, content = message["value"]
        ies = {names[ie["id"]]: ie["value"][1] for ie in content["protocolIEs"]}
        return Message(outcome, procedures[message["procedureCode"]], name, ies)
    except Exception as error:  # pycrate raises what its decoder meets
        raise NgapError(f"no NGAP message: {data[:64].hex()}") from error


def transfer(kind: str, value: Mapping[str, Any]) -> bytes:
    """A session's transfer, which goes to the SMF through the AMF; `kind`: the type's name."""
    made = _transfer(kind)
    made.set_val(value)
    data: bytes = made.to_aper()
    return data


def transferred(kind: str, data: Any) -> dict[str, Any]:
    """What is in a transfer. Where it has elements, they go by their names. Raises NgapError."""
    made = _transfer(kind)
    try:
        if isinstance(data, bytes):
            made.from_aper(data)
            value = made.get_val()
        else:
            # A decoder that has looked into the container gives its type and its value.
            value = data[1] if isinstance(data, tuple) else data
        if "protocolIEs" not in value:
            return dict(value)
        return {_names()[1][ie["id"]]: ie["value"][1] for ie in value["protocolIEs"]}
    except Exception as error:  # pycrate raises what its decoder meets
        raise NgapError(f"no {kind}") from error


def _transfer(kind: str) -> Any:
    return getattr(import_module("pycrate_asn1dir.NGAP").NGAP_IEs, kind)


def setup_request(gnb: Gnb) -> bytes:
    """NGSetupRequest."""
    identity = plmn(gnb.mcc, gnb.mnc)
    slices = [
        {"s-NSSAI": {"sST": bytes((sst,)), **({} if sd is None else {"sD": bytes.fromhex(sd)})}}
        for sst, sd in gnb.slices
    ]
    broadcast = [{"pLMNIdentity": identity, "tAISliceSupportList": slices}]
    node = ("globalGNB-ID", {"pLMNIdentity": identity, "gNB-ID": ("gNB-ID", (gnb.id, 22))})
    ies = {
        "GlobalRANNodeID": node,
        "RANNodeName": gnb.name,
        "SupportedTAList": [{"tAC": gnb.tac.to_bytes(3), "broadcastPLMNList": broadcast}],
        "DefaultPagingDRX": "v128",
    }
    return encode(INITIATING, "NGSetup", "NGSetupRequest", ies)


def amf_name(data: bytes) -> str:
    """Of an NGSetupResponse. Raises NgapError for everything else."""
    message = decode(data)
    if message.name != "NGSetupResponse":
        raise NgapError(f"the AMF answers {message.outcome}, {message.name}")
    return str(message.ies.get("AMFName", ""))
