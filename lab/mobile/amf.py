"""STAND-IN for an AMF, no AMF: N2 and NAS for the lab's gNB, as far as a UE's registration and its sessions need them.

It authenticates, secures, registers, pages, releases. Sessions are the SMF model's. One PLMN, one slice, one TAC for
accepts; no mobility between gNBs, no EPS, no emergency. It knows no wire: `amf_daemon` runs it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, ClassVar

from lab.mobile import amf_nas, ngap
from lab.mobile.amf_nas import NasFormatError
from lab.mobile.amf_security import Subscription
from lab.mobile.amf_ue import AmfUe, Give, Profile, Step, Told
from lab.mobile.core import Core, CoreError
from lab.mobile.ngap import INITIATING, SUCCESSFUL, UNSUCCESSFUL, Message, NgapError

_REGION, _SET, _POINTER = 2, 1, 0
_RATE_BPS = 100_000_000
_UNKNOWN_IDENTITY = 9


@dataclass(slots=True)
class _Served:
    """A UE and where it is connected: a gNB and its number there, or nowhere. `paged`: of each session, told so far."""

    ue: AmfUe
    id: int
    gnb: int | None = None
    ran_id: int = 0
    paged: dict[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        return {"AMF-UE-NGAP-ID": self.id, "RAN-UE-NGAP-ID": self.ran_id}


Sent = list[tuple[int, bytes]]
"""gNB, message."""


class Amf:
    """`subscriptions`: by IMSI. `log`: what is worth telling."""

    def __init__(
        self, profile: Profile, subscriptions: dict[str, Subscription], smf: Core, log: Callable[[str], None]
    ) -> None:
        self.profile, self.subscriptions, self.smf, self._log = profile, subscriptions, smf, log
        self.served: dict[int, _Served] = {}
        self.gnbs: dict[int, str] = {}
        self._last_id = 0

    def lost(self, gnb: int) -> None:
        """A gNB has gone: its UEs are connected no more, and their sessions idle."""
        self.gnbs.pop(gnb, None)
        for served in [served for served in self.served.values() if served.gnb == gnb]:
            self._disconnected(served)

    def received(self, gnb: int, data: bytes) -> Sent:
        """What is sent for a message of a gNB; what cannot be read is logged and dropped."""
        try:
            message = ngap.decode(data)
            handler = self._TABLE.get(message.name)
            if handler is None:
                self._log(f"{message.name} is not modelled")
                return []
            return handler(self, gnb, message)
        except (NgapError, NasFormatError) as error:
            self._log(f"dropped: {error}")
            return []

    # The gNB.

    def _setup(self, gnb: int, message: Message) -> Sent:
        broadcast = [
            plmn["pLMNIdentity"] for area in message.need("SupportedTAList") for plmn in area["broadcastPLMNList"]
        ]
        if self.profile.plmn not in broadcast:
            cause = {"Cause": ("misc", "unknown-PLMN-or-SNPN")}
            return [(gnb, ngap.encode(UNSUCCESSFUL, "NGSetup", "NGSetupFailure", cause))]
        self.gnbs[gnb] = str(message.ies.get("RANNodeName", ""))
        slices = [{"s-NSSAI": self._slice}]
        ies = {
            "AMFName": "sv-lab-amf-stand-in",
            "ServedGUAMIList": [{"gUAMI": self._guami}],
            "RelativeAMFCapacity": 255,
            "PLMNSupportList": [{"pLMNIdentity": self.profile.plmn, "sliceSupportList": slices}],
        }
        return [(gnb, ngap.encode(SUCCESSFUL, "NGSetup", "NGSetupResponse", ies))]

    @property
    def _guami(self) -> dict[str, Any]:
        own = {"aMFRegionID": (_REGION, 8), "aMFSetID": (_SET, 10), "aMFPointer": (_POINTER, 6)}
        return {"pLMNIdentity": self.profile.plmn, **own}

    @property
    def _slice(self) -> dict[str, bytes]:
        return {"sST": bytes((self.profile.sst,))}

    # UEs.

    def _initial(self, gnb: int, message: Message) -> Sent:
        nas, ran_id = message.need("NAS-PDU"), message.need("RAN-UE-NGAP-ID")
        temporary = message.ies.get("FiveG-S-TMSI")
        if temporary is None:
            guti = b"\xf2" + self.profile.plmn + bytes((_REGION,)) + (_SET << 6 | _POINTER).to_bytes(2)
            ue = AmfUe(self.profile, guti + secrets.token_bytes(4), self.subscriptions, self._create)
            served = self._new(ue)
        else:
            found = [own for own in self.served.values() if own.ue.guti[7:] == temporary["fiveG-TMSI"]]
            if not found:
                # Plain, since there is no context: the UE registers anew (TS 24.501 clause 5.6.1.5).
                ue = AmfUe(self.profile, b"", {}, self._create, step=Step.GONE)
                served = self._new(ue)
                served.gnb, served.ran_id = gnb, ran_id
                return self._do(served, [amf_nas.service_reject(_UNKNOWN_IDENTITY), Give("release")])
            served = found[0]
        served.gnb, served.ran_id = gnb, ran_id
        return self._heard(served, nas)

    def _new(self, ue: AmfUe) -> _Served:
        self._last_id += 1
        served = _Served(ue, self._last_id)
        self.served[served.id] = served
        return served

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        """In place of what an AMF or a gNB before has left. Raises CoreError."""
        for told in self.smf.sessions():
            if told["id"] == f"{asked['supi']}-{asked['psi']}":
                self.smf.delete(told["id"])
        return self.smf.create(asked)

    def _supersede(self, served: _Served) -> None:
        """Who registers is the same UE as before, which is connected no more (TS 24.501 clause 5.5.1.2.8 f)."""
        older = [own for own in self.served.values() if own.ue.imsi == served.ue.imsi and own is not served]
        for own in older:
            del self.served[own.id]

    def _of(self, message: Message) -> _Served:
        served = self.served.get(message.need("AMF-UE-NGAP-ID"))
        if served is None:
            raise NgapError(f"{message.name} of an unknown UE")
        return served

    def _uplink(self, _gnb: int, message: Message) -> Sent:
        return self._heard(self._of(message), message.need("NAS-PDU"))

    def _heard(self, served: _Served, nas: bytes) -> Sent:
        before = len(served.ue.failures)
        told = served.ue.received(nas)
        for failure in served.ue.failures[before:]:
            self._log(failure)
        return self._do(served, told)

    def _do(self, served: _Served, told: Told) -> Sent:
        sent: Sent = []
        for entry in told:
            data = self._downlink(served, entry) if isinstance(entry, bytes) else self._give(served, entry)
            if data is not None and served.gnb is not None:
                sent.append((served.gnb, data))
        return sent

    def _downlink(self, served: _Served, nas: bytes) -> bytes:
        ies = {**served.ids, "NAS-PDU": nas}
        return ngap.encode(INITIATING, "DownlinkNASTransport", "DownlinkNASTransport", ies, "ignore")

    def _give(self, served: _Served, give: Give) -> bytes | None:
        if give.what == "context":
            self._supersede(served)
            return self._context(served, give.told)
        if give.what == "session":
            item = {**self._resource(served, give.psi), "pDUSessionNAS-PDU": give.told}
            ies = {**served.ids, "PDUSessionResourceSetupListSUReq": [item], "UEAggregateMaximumBitRate": _rate("uE")}
            return ngap.encode(INITIATING, "PDUSessionResourceSetup", "PDUSessionResourceSetupRequest", ies)
        if give.what == "end":
            return self._end(served, give.psi, give.told)
        if give.what == "end all":
            for session in served.ue.sessions.values():
                self._ask(self.smf.delete, session["id"])
            served.ue.sessions.clear()
            self._log(f"{served.ue.imsi} leaves")
        elif give.what == "configured":
            self._log(f"{served.ue.imsi} is registered")
        elif give.what == "release":
            return self._release(served)
        return None

    def _context(self, served: _Served, nas: bytes) -> bytes:
        link = served.ue.link
        if link is None:
            raise NasFormatError("no security context")
        ciphering, integrity = (served.ue.capabilities + bytes(2))[:2]
        algorithms = {
            # NEA0 and NIA0 have no bit here.
            "nRencryptionAlgorithms": ((ciphering << 1 & 255) << 8, 16),
            "nRintegrityProtectionAlgorithms": ((integrity << 1 & 255) << 8, 16),
            "eUTRAencryptionAlgorithms": (0, 16),
            "eUTRAintegrityProtectionAlgorithms": (0, 16),
        }
        wanted = [self._resource(served, psi) for psi in served.ue.wanted]
        ies = {
            **served.ids,
            **({"UEAggregateMaximumBitRate": _rate("uE")} if wanted else {}),
            "GUAMI": self._guami,
            **({"PDUSessionResourceSetupListCxtReq": wanted} if wanted else {}),
            "AllowedNSSAI": [{"s-NSSAI": self._slice}],
            "UESecurityCapabilities": algorithms,
            "SecurityKey": (int.from_bytes(link.k_gnb()), 256),
            "NAS-PDU": nas,
        }
        return ngap.encode(INITIATING, "InitialContextSetup", "InitialContextSetupRequest", ies)

    def _resource(self, served: _Served, psi: int) -> dict[str, Any]:
        told = served.ue.sessions[psi]
        address = ip_address(told["upf"]["address"]).packed
        tunnel = {
            "transportLayerAddress": (int.from_bytes(address), 8 * len(address)),
            "gTP-TEID": told["upf"]["teid"].to_bytes(4),
        }
        priority = {
            "priorityLevelARP": 8,
            "pre-emptionCapability": "shall-not-trigger-pre-emption",
            "pre-emptionVulnerability": "not-pre-emptable",
        }
        quality = {
            "qosCharacteristics": ("nonDynamic5QI", {"fiveQI": 9}),
            "allocationAndRetentionPriority": priority,
        }
        ies = {
            "PDUSessionAggregateMaximumBitRate": _rate("pDUSession"),
            "UL-NGU-UP-TNLInformation": ("gTPTunnel", tunnel),
            "PDUSessionType": "ipv4",
            "QosFlowSetupRequestList": [{"qosFlowIdentifier": told["qfi"], "qosFlowLevelQosParameters": quality}],
        }
        made = ngap.transfer("PDUSessionResourceSetupRequestTransfer", {"protocolIEs": ngap.elements(ies)})
        return {"pDUSessionID": psi, "s-NSSAI": self._slice, "pDUSessionResourceSetupRequestTransfer": made}

    def _set_up(self, _gnb: int, message: Message) -> Sent:
        """Sessions have their tunnels at the gNB, or have none and are let go."""
        served = self._of(message)
        for name in ("PDUSessionResourceSetupListSURes", "PDUSessionResourceSetupListCxtRes"):
            for item in message.ies.get(name, []):
                session = served.ue.sessions.get(item["pDUSessionID"])
                if session is None:
                    raise NgapError(f"{message.name} of a session that is not asked for")
                told = ngap.transferred(
                    "PDUSessionResourceSetupResponseTransfer", item["pDUSessionResourceSetupResponseTransfer"]
                )
                _kind, tunnel = told["dLQosFlowPerTNLInformation"]["uPTransportLayerInformation"]
                value, bits = tunnel["transportLayerAddress"]
                address = str(ip_address(value.to_bytes(bits // 8)))
                end = {"address": address, "teid": int.from_bytes(tunnel["gTP-TEID"])}
                self._ask(lambda session=session, end=end: self.smf.gnb(session["id"], "active", end))
        for item in message.ies.get("PDUSessionResourceFailedToSetupListSURes", []):
            session = served.ue.sessions.pop(item["pDUSessionID"], None)
            if session is not None:
                self._ask(self.smf.delete, session["id"])
        return []

    def _context_failed(self, _gnb: int, message: Message) -> Sent:
        served = self._of(message)
        self._log(f"{served.ue.imsi}: the gNB has no context: {message.ies.get('Cause')}")
        return self._do(served, [Give("end all"), Give("release")])

    def _end(self, served: _Served, psi: int, nas: bytes) -> bytes:
        self._ask(self.smf.delete, served.ue.sessions.pop(psi)["id"])
        told = ngap.transfer("PDUSessionResourceReleaseCommandTransfer", {"cause": ("nas", "normal-release")})
        item = {"pDUSessionID": psi, "pDUSessionResourceReleaseCommandTransfer": told}
        ies = {**served.ids, "NAS-PDU": nas, "PDUSessionResourceToReleaseListRelCmd": [item]}
        return ngap.encode(INITIATING, "PDUSessionResourceRelease", "PDUSessionResourceReleaseCommand", ies)

    def _silent(self, gnb: int, message: Message) -> Sent:
        """The gNB asks for the release of a UE that is silent."""
        return [(gnb, self._release(self._of(message)))]

    def _release(self, served: _Served) -> bytes:
        pair = {"aMF-UE-NGAP-ID": served.id, "rAN-UE-NGAP-ID": served.ran_id}
        ies = {"UE-NGAP-IDs": ("uE-NGAP-ID-pair", pair), "Cause": ("nas", "normal-release")}
        return ngap.encode(INITIATING, "UEContextRelease", "UEContextReleaseCommand", ies)

    def _released(self, _gnb: int, message: Message) -> Sent:
        self._disconnected(self._of(message))
        return []

    def _disconnected(self, served: _Served) -> None:
        served.gnb = None
        if served.ue.step is not Step.REGISTERED:
            del self.served[served.id]
            return
        for session in served.ue.sessions.values():
            self._ask(self.smf.idle, session["id"])
        served.paged = {told["id"]: told["paged"] for told in self._sessions()}

    def _sessions(self) -> list[dict[str, Any]]:
        try:
            return self.smf.sessions()
        except CoreError as error:
            self._log(f"SMF: {error}")
            return []

    def _ask(self, act: Callable[..., None], *arguments: str) -> None:
        try:
            act(*arguments)
        except CoreError as error:  # the UE's procedure goes on
            self._log(f"SMF: {error}")

    # Paging.

    def page(self) -> Sent:
        """For UEs that are idle while the SMF has data for them: once each time that it says so."""
        idle = {f"imsi-{own.ue.imsi}": own for own in self.served.values() if own.gnb is None}
        if not idle:
            return []
        sent: Sent = []
        for told in self._sessions():
            served = idle.get(told["supi"])
            if served is not None and told["paged"] > served.paged.get(told["id"], 0):
                served.paged[told["id"]] = told["paged"]
                sent += [(gnb, self._paging(served)) for gnb in self.gnbs]
        return sent

    def _paging(self, served: _Served) -> bytes:
        identity = {
            "aMFSetID": (_SET, 10),
            "aMFPointer": (_POINTER, 6),
            "fiveG-TMSI": served.ue.guti[7:],
        }
        area = {"tAI": {"pLMNIdentity": self.profile.plmn, "tAC": self.profile.tac.to_bytes(3)}}
        ies = {"UEPagingIdentity": ("fiveG-S-TMSI", identity), "TAIListForPaging": [area]}
        return ngap.encode(INITIATING, "Paging", "Paging", ies, "ignore")

    _TABLE: ClassVar[dict[str, Callable[[Amf, int, Message], Sent]]] = {
        "NGSetupRequest": _setup,
        "InitialUEMessage": _initial,
        "UplinkNASTransport": _uplink,
        "InitialContextSetupResponse": _set_up,
        "InitialContextSetupFailure": _context_failed,
        "PDUSessionResourceSetupResponse": _set_up,
        "PDUSessionResourceReleaseResponse": lambda _amf, _gnb, _message: [],
        "UEContextReleaseRequest": _silent,
        "UEContextReleaseComplete": _released,
    }


def _rate(whose: str) -> dict[str, int]:
    return {f"{whose}AggregateMaximumBitRate{way}": _RATE_BPS for way in ("DL", "UL")}
