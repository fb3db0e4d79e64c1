"""Sections `janus` and `turn` of appliances that have a WebRTC gateway or a TURN server."""

from __future__ import annotations

from nf.documents.model import Address, DocumentModel
from nf.documents.registry import Extension
from sip.documents import DomainName, Turn, WebrtcGateway

JANUS = "janus"
TURN = "turn"


class EdgeSection(DocumentModel):
    """requires  ordering facts that hold before it starts; `provides`: those that hold while it runs with this"""

    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        raise NotImplementedError

    @property
    def drained(self) -> bool:
        """As the fleet's document has it."""
        raise NotImplementedError


class JanusSection(EdgeSection):
    gateway: WebrtcGateway

    @property
    def id(self) -> str:
        return self.gateway.id

    @property
    def drained(self) -> bool:
        return self.gateway.drained


class TurnSection(EdgeSection):
    """realm   of the credentials
    peers   to whom it relays whatever else is forbidden: media relays and gateways, as browsers are told of them
    own     addresses of this network, to which it relays nothing with `reach: internet`
    """

    turn: Turn
    realm: DomainName
    peers: tuple[Address, ...] = ()
    own: tuple[Address, ...] = ()

    @property
    def id(self) -> str:
        return self.turn.id

    @property
    def drained(self) -> bool:
        return self.turn.drained


EXTENSION = Extension(sections={JANUS: JanusSection, TURN: TurnSection})
