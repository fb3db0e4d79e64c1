"""Which UPF the SMF takes for a session, and which one it was meant to take. Pure.

Open5GS compares DNN, TAC and cell of a session with each peer, and any one match selects it (compare_ue_info in
src/smf/context.c): it is an OR. Of the peers that match it takes one after the other. With no match it takes one after
the other of all of them, or with `no_pfcp_rr_select` always the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from core5g.documents import Core5g, Upf


@dataclass(frozen=True, slots=True)
class UpfPeer:
    """An entry of the SMF's `pfcp.client.upf`. `address`: the classifier's where one stands before the UPF."""

    upf: str
    address: IPv4Address
    dnns: tuple[str, ...] = ()
    tacs: tuple[int, ...] = ()

    def matches(self, dnn: str, tac: int) -> bool:
        return dnn in self.dnns or tac in self.tacs


def upf_peers(core: Core5g) -> tuple[UpfPeer, ...]:
    """As the SMF gets them. First those that are chosen by no TAC, since the first takes what nothing matches.

    Where TACs choose and every UPF serves the same DNNs, only TACs are written: those that no UPF names go to the UPFs
    without TACs. A DNN written beside a TAC would match everywhere. The edge UPF of a classifier is no peer, unless
    TACs choose it: it gets its sessions from the proxy.
    """
    proxies = {classifier.upf: classifier.address for classifier in core.classifiers}
    edges = {classifier.edge for classifier in core.classifiers}
    upfs = sorted(
        (upf for upf in core.upfs if upf.tacs or upf.id not in edges), key=lambda upf: (bool(upf.tacs), upf.id)
    )
    named = {tac for upf in upfs for tac in upf.tacs}
    left = tuple(sorted(set(core.tacs) - named))
    by_tac_alone = bool(named) and len({frozenset(upf.dnns) for upf in upfs}) == 1
    return tuple(
        UpfPeer(
            upf.id,
            proxies.get(upf.id, upf.n4),
            () if by_tac_alone else tuple(sorted(upf.dnns)),
            (tuple(sorted(upf.tacs)) or left) if by_tac_alone else tuple(sorted(upf.tacs)),
        )
        for upf in upfs
    )


def meant(core: Core5g, dnn: str, tac: int) -> frozenset[str]:
    """UPFs that serve the DNN and name the TAC; where none does, those that serve the DNN and name no TAC."""
    edges = {classifier.edge for classifier in core.classifiers}
    serving = [upf for upf in core.upfs if dnn in upf.dnns and (upf.tacs or upf.id not in edges)]
    near = frozenset(upf.id for upf in serving if tac in upf.tacs)
    return near or frozenset(upf.id for upf in serving if not upf.tacs)


def taken(peers: Sequence[UpfPeer], dnn: str, tac: int) -> frozenset[str]:
    """UPFs that the SMF takes in turn for sessions of this DNN from this TAC, all of them being associated."""
    matching = frozenset(peer.upf for peer in peers if peer.matches(dnn, tac))
    return matching or frozenset(peer.upf for peer in peers[:1])


def by_id(core: Core5g) -> dict[str, Upf]:
    return {upf.id: upf for upf in core.upfs}
