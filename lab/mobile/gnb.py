"""A gNB's side of N2 for its UEs (TS 38.413 clause 8): what the AMF sends goes in, what is answered comes out.

Radio and RRC are not here: a UE's NAS messages reach it as they are. It knows no wire.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, ClassVar

from lab.mobile import identities, ngap
from lab.mobile.n4 import Tunnel
from lab.mobile.nas_ue import Ue
from lab.mobile.ngap import INITIATING, SUCCESSFUL, UNSUCCESSFUL, Gnb, Message, NgapError

_CELL_BITS = 14


@dataclass(slots=True)
class N3:
    """A session's two ends: ours, and the UPF's once it is told."""

    gnb: Tunnel
    upf: Tunnel | None = None
    qfi: int = 0


@dataclass(slots=True)
class Connection:
    """A UE that is connected. `amf_id`: once the AMF has spoken. `secured`: its context has the right key."""

    ue: Ue
    ran_id: int
    amf_id: int | None = None
    secured: bool = False
    ends: dict[int, N3] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        own = {"RAN-UE-NGAP-ID": self.ran_id}
        return own if self.amf_id is None else {"AMF-UE-NGAP-ID": self.amf_id, **own}


class GnbNode:
    """`paged`: called with a 5G-S-TMSI as a mobile identity."""

    def __init__(self, gnb: Gnb, paged: Callable[[bytes], None] = lambda _identity: None) -> None:
        self.gnb = gnb
        self.connections: dict[int, Connection] = {}
        self._paged = paged
        self._last_id = 0

    # What UEs begin.

    def connect(self, ue: Ue, nas: bytes, cause: str) -> tuple[Connection, bytes]:
        """A connection, and its first message; `cause`: of RRC (TS 38.331 EstablishmentCause)."""
        self._last_id += 1
        made = Connection(ue, self._last_id)
        self.connections[made.ran_id] = made
        ies: dict[str, Any] = {
            "RAN-UE-NGAP-ID": made.ran_id,
            "NAS-PDU": nas,
            "UserLocationInformation": self._location(),
            "RRCEstablishmentCause": cause,
        }
        if ue.guti:
            ies["FiveG-S-TMSI"] = _s_tmsi(ue.guti)
        ies["UEContextRequest"] = "requested"
        return made, ngap.encode(INITIATING, "InitialUEMessage", "InitialUEMessage", ies, "ignore")

    def uplink(self, connection: Connection, nas: bytes) -> bytes:
        ies = {**connection.ids, "NAS-PDU": nas, "UserLocationInformation": self._location()}
        return ngap.encode(INITIATING, "UplinkNASTransport", "UplinkNASTransport", ies, "ignore")

    def release_request(self, connection: Connection) -> bytes:
        """The UE has been silent for long."""
        sessions = [{"pDUSessionID": psi} for psi in connection.ends]
        ies = {
            **connection.ids,
            **({"PDUSessionResourceListCxtRelReq": sessions} if sessions else {}),
            "Cause": ("radioNetwork", "user-inactivity"),
        }
        return ngap.encode(INITIATING, "UEContextReleaseRequest", "UEContextReleaseRequest", ies, "ignore")

    def _location(self) -> Any:
        own = identities.plmn(self.gnb.mcc, self.gnb.mnc)
        cell = {"pLMNIdentity": own, "nRCellIdentity": (self.gnb.id << _CELL_BITS, 36)}
        area = {"pLMNIdentity": own, "tAC": self.gnb.tac.to_bytes(3)}
        return ("userLocationInformationNR", {"nR-CGI": cell, "tAI": area})

    # What the AMF sends.

    def received(self, data: bytes) -> list[bytes]:
        """What is answered. Raises NgapError for what no gNB understands."""
        message = ngap.decode(data)
        if message.name == "Paging":
            self._page(message)
            return []
        handler = self._TABLE.get(message.name)
        if handler is None:
            sys.stderr.write(f"WARNING: {message.name} of the AMF is not modelled\n")
            return []
        connection = self._of(message)
        if connection is None:
            return [_error_indication(message, "unknown-local-UE-NGAP-ID")]
        return handler(self, connection, message)

    def _of(self, message: Message) -> Connection | None:
        ids = message.ies.get("UE-NGAP-IDs")
        if ids is not None:
            kind, value = ids
            if kind == "uE-NGAP-ID-pair":
                return self.connections.get(value["rAN-UE-NGAP-ID"])
            return next((own for own in self.connections.values() if own.amf_id == value), None)
        found = self.connections.get(message.need("RAN-UE-NGAP-ID"))
        if found is not None:
            found.amf_id = message.need("AMF-UE-NGAP-ID")
        return found

    def _to_ue(self, connection: Connection, nas: bytes | None) -> list[bytes]:
        if nas is None:
            return []
        return [self.uplink(connection, answer) for answer in connection.ue.received(nas)]

    def _downlink(self, connection: Connection, message: Message) -> list[bytes]:
        return self._to_ue(connection, message.need("NAS-PDU"))

    def _context(self, connection: Connection, message: Message) -> list[bytes]:
        """The key is compared with the UE's, as the radio's own security would find out (TS 33.501 clause 6.8.1.2)."""
        key, bits = message.need("SecurityKey")
        if key.to_bytes(bits // 8) != connection.ue.k_gnb:
            ies = {**connection.ids, "Cause": ("radioNetwork", "failure-in-radio-interface-procedure")}
            connection.ue.dropped.append("the AMF's key for the radio is not the UE's")
            return [ngap.encode(UNSUCCESSFUL, "InitialContextSetup", "InitialContextSetupFailure", ies)]
        connection.secured = True
        made, failed, answers = self._set_up(connection, message.ies.get("PDUSessionResourceSetupListCxtReq", []))
        ies = {
            **connection.ids,
            **({"PDUSessionResourceSetupListCxtRes": made} if made else {}),
            **({"PDUSessionResourceFailedToSetupListCxtRes": failed} if failed else {}),
        }
        response = ngap.encode(SUCCESSFUL, "InitialContextSetup", "InitialContextSetupResponse", ies)
        return [response, *self._to_ue(connection, message.ies.get("NAS-PDU")), *answers]

    def _resources(self, connection: Connection, message: Message) -> list[bytes]:
        made, failed, answers = self._set_up(connection, message.need("PDUSessionResourceSetupListSUReq"))
        ies = {
            **connection.ids,
            **({"PDUSessionResourceSetupListSURes": made} if made else {}),
            **({"PDUSessionResourceFailedToSetupListSURes": failed} if failed else {}),
        }
        response = ngap.encode(SUCCESSFUL, "PDUSessionResourceSetup", "PDUSessionResourceSetupResponse", ies)
        return [response, *self._to_ue(connection, message.ies.get("NAS-PDU")), *answers]

    def _set_up(self, connection: Connection, items: list[Any]) -> tuple[list[Any], list[Any], list[bytes]]:
        """Those that have a tunnel at us, those that have not, and what the UE answers."""
        made, failed, answers = [], [], []
        for item in items:
            psi, end = item["pDUSessionID"], connection.ends.get(item["pDUSessionID"])
            asked = ngap.transferred(
                "PDUSessionResourceSetupRequestTransfer", item["pDUSessionResourceSetupRequestTransfer"]
            )
            try:
                upf = _tunnel(asked.get("UL-NGU-UP-TNLInformation"))
                qfis = [flow["qosFlowIdentifier"] for flow in asked["QosFlowSetupRequestList"]]
            except (NgapError, KeyError):
                end = None
            if end is None:
                cause = {"cause": ("radioNetwork", "unspecified")}
                told = ngap.transfer("PDUSessionResourceSetupUnsuccessfulTransfer", cause)
                failed.append({"pDUSessionID": psi, "pDUSessionResourceSetupUnsuccessfulTransfer": told})
                continue
            end.upf, end.qfi = upf, qfis[0]
            information = {
                "uPTransportLayerInformation": _encoded(end.gnb),
                "associatedQosFlowList": [{"qosFlowIdentifier": qfi} for qfi in qfis],
            }
            told = ngap.transfer("PDUSessionResourceSetupResponseTransfer", {"dLQosFlowPerTNLInformation": information})
            made.append({"pDUSessionID": psi, "pDUSessionResourceSetupResponseTransfer": told})
            answers += self._to_ue(connection, item.get("pDUSessionNAS-PDU") or item.get("nAS-PDU"))
        return made, failed, answers

    def _resources_released(self, connection: Connection, message: Message) -> list[bytes]:
        released = []
        for item in message.need("PDUSessionResourceToReleaseListRelCmd"):
            connection.ends.pop(item["pDUSessionID"], None)
            told = ngap.transfer("PDUSessionResourceReleaseResponseTransfer", {})
            released.append({"pDUSessionID": item["pDUSessionID"], "pDUSessionResourceReleaseResponseTransfer": told})
        ies = {**connection.ids, "PDUSessionResourceReleasedListRelRes": released}
        response = ngap.encode(SUCCESSFUL, "PDUSessionResourceRelease", "PDUSessionResourceReleaseResponse", ies)
        return [response, *self._to_ue(connection, message.ies.get("NAS-PDU"))]

    def _released(self, connection: Connection, message: Message) -> list[bytes]:
        del self.connections[connection.ran_id]
        connection.ue.connection_lost()
        kind, value = message.need("UE-NGAP-IDs")
        amf_id = value["aMF-UE-NGAP-ID"] if kind == "uE-NGAP-ID-pair" else value
        ies = {"AMF-UE-NGAP-ID": amf_id, "RAN-UE-NGAP-ID": connection.ran_id}
        return [ngap.encode(SUCCESSFUL, "UEContextRelease", "UEContextReleaseComplete", ies)]

    def _lost(self, connection: Connection, message: Message) -> list[bytes]:
        """The AMF does not know the UE: so do we no longer."""
        sys.stderr.write(f"WARNING: the AMF indicates an error: {message.ies.get('Cause')}\n")
        self.connections.pop(connection.ran_id, None)
        connection.ue.connection_lost()
        return []

    def _page(self, message: Message) -> None:
        kind, value = message.need("UEPagingIdentity")
        if kind == "fiveG-S-TMSI":
            which = value["aMFSetID"][0] << 6 | value["aMFPointer"][0]
            self._paged(bytes((0xF0 | identities.S_TMSI,)) + which.to_bytes(2) + value["fiveG-TMSI"])

    _TABLE: ClassVar[dict[str, Callable[[GnbNode, Connection, Message], list[bytes]]]] = {
        "DownlinkNASTransport": _downlink,
        "InitialContextSetupRequest": _context,
        "PDUSessionResourceSetupRequest": _resources,
        "PDUSessionResourceReleaseCommand": _resources_released,
        "UEContextReleaseCommand": _released,
        "ErrorIndication": _lost,
    }


def _s_tmsi(guti: bytes) -> dict[str, Any]:
    which = int.from_bytes(guti[5:7])
    return {"aMFSetID": (which >> 6, 10), "aMFPointer": (which & 63, 6), "fiveG-TMSI": guti[7:]}


def _tunnel(information: Any) -> Tunnel:
    """Raises NgapError. Of an address with both versions, IPv4 comes first (TS 38.414 clause 5.1)."""
    if not information or information[0] != "gTPTunnel":
        raise NgapError("no tunnel of the UPF is told")
    value, bits = information[1]["transportLayerAddress"]
    octets = value.to_bytes(bits // 8)
    address = ip_address(octets[:4] if bits in (32, 160) else octets)
    return Tunnel(int.from_bytes(information[1]["gTP-TEID"]), address)


def _encoded(tunnel: Tunnel) -> Any:
    octets = tunnel.address.packed
    address = (int.from_bytes(octets), len(octets) * 8)
    return ("gTPTunnel", {"transportLayerAddress": address, "gTP-TEID": tunnel.teid.to_bytes(4)})


def _error_indication(message: Message, cause: str) -> bytes:
    ies = {name: message.ies[name] for name in ("AMF-UE-NGAP-ID", "RAN-UE-NGAP-ID") if name in message.ies}
    return ngap.encode(
        INITIATING, "ErrorIndication", "ErrorIndication", {**ies, "Cause": ("radioNetwork", cause)}, "ignore"
    )
