"""Which address a UE has, and whether it is behind this UPF: UPFs share pools, so that a route says neither.

The SMFs know (/pdu-info). Where they do not answer, what is asked by address is judged by the route alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from core5g.open5gs.naming import METRICS_PORTS
from core5g.open5gs.poller import InfoClient, PduSession
from core5g.steering.n6.documents import IpAddress, N6Section
from core5g.ue import ue_of
from nf.errors import UnavailableError

SUPI = "imsi-"


async def whereabouts(ue: str, section: N6Section, version: int | None = None) -> tuple[tuple[IpAddress, ...], str]:
    """The addresses of a UE, named by one or by its SUPI, that has a session at this UPF; else none, and why.

    `version` of IP that is asked about: who is named by an address of the other one is known by that of this one.
    """
    answers = await asyncio.gather(*(_sessions(f"{smf}:{METRICS_PORTS['smf']}") for smf in section.smfs))
    silent = [str(smf) for smf, answer in zip(section.smfs, answers, strict=True) if answer is None]
    known = None if not section.smfs else [session for answer in answers for session in answer or ()]
    return judged(ue, known, silent, str(section.n3), version)


async def _sessions(address: str) -> tuple[PduSession, ...] | None:
    try:
        return await InfoClient(address).pdu_sessions()
    except UnavailableError:
        return None


def judged(
    ue: str, known: Sequence[PduSession] | None, silent: Sequence[str], n3: str, version: int | None = None
) -> tuple[tuple[IpAddress, ...], str]:
    """`known`: what the SMFs tell, None where there are none to ask; `silent`: those that did not answer. Pure."""
    own = _address(ue)
    found = [session for session in known or () if _is(session, ue, own)]
    here = [session for session in found if session.upf is None or session.upf.address == n3]
    if here:
        return _asked(own, _addresses(here), version), ""
    if found:
        places = sorted({session.upf.address for session in found if session.upf is not None})
        return (), f"its session is at the UPF with N3 {' and '.join(places)}"
    if own is not None and (known is None or silent):
        return (own,), ""
    if known is None:
        return (), "steering at N6 knows UEs by their address, and there is no SMF here to ask for it"
    if silent:
        return (), f"the SMF {' and '.join(silent)} does not answer, which could tell its address"
    return (), "the SMFs know no session of it"


def _asked(own: IpAddress | None, known: tuple[IpAddress, ...], version: int | None) -> tuple[IpAddress, ...]:
    if own is not None and version in {None, own.version}:
        return (own,)
    return tuple(one for one in known if one.version == version) or ((own,) if own is not None else known)


def _is(session: PduSession, ue: str, own: IpAddress | None) -> bool:
    """Open5GS writes a bare IMSI where a session came over S5."""
    if own is None:
        return SUPI + session.supi.removeprefix(SUPI) == ue
    return any(ue_of(own) == ue_of(one) for one in _addresses((session,)))


def _addresses(sessions: Iterable[PduSession]) -> tuple[IpAddress, ...]:
    texts = (text.partition("/")[0] for session in sessions for text in (session.ipv4, session.ipv6))
    return tuple(dict.fromkeys(found for text in texts if (found := _address(text)) is not None))


def _address(text: str) -> IpAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
