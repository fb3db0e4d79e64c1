"""From X2 to HI2: which session a message or an event is of, and which IRI it makes. No I/O: it stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lawful_intercept.handover import threegpp
from lawful_intercept.handover.reading import PduError
from lawful_intercept.handover.values import DataType, IriType, Qualifier
from lawful_intercept.mediation import iri_rules, sip, told
from lawful_intercept.mediation.correlation import Correlated, Sessions
from lawful_intercept.mediation.iri_rules import Signal
from lawful_intercept.mediation.notices import Notices
from lawful_intercept.mediation.products import Product
from lawful_intercept.mediation.streams import Streams
from lawful_intercept.x2x3.codec import Attribute, PayloadFormat, Pdu

_NOBODY: Final = "0.0.0.0"  # noqa: S104 - an address that is not known


class Signalling:
    """`late_ns`: see `mediator.Rules`. `drop`: told of a session whose number another one gets."""

    def __init__(
        self,
        sessions: Sessions,
        streams: Streams,
        notices: Notices,
        late_ns: int,
        drop: Callable[[Correlated], None],
    ) -> None:
        self._sessions = sessions
        self._streams = streams
        self._notices = notices
        self._late_ns = late_ns
        self._drop = drop

    def take(self, pdu: Pdu, products: tuple[Product, ...], times: tuple[int, int], now: float) -> bool:
        """Whether it was handed over as IRI; else it is told, or says nothing that was not known."""
        now_ns = times[1]
        session = self._sessions.of(products[0].xid.bytes, pdu.correlation, now)
        xiri, message = b"", pdu.payload
        if pdu.form is PayloadFormat.SIP:
            session, kind = self._sip(session, pdu, now)
        elif pdu.form is PayloadFormat.PROPRIETARY and pdu.attribute(Attribute.PROPRIETARY) == told.OWNER:
            if not told.ends_call(pdu.payload):
                self._notices.inform(products, told.text(pdu.payload), now_ns)
                return False
            kind, session.rules = iri_rules.step(session.rules, Signal.GONE)
            if kind is not IriType.END:
                return False
            message = b""
        elif pdu.form is PayloadFormat.TS_33_128:
            try:
                kind = told.iri_type(pdu.payload)
            except PduError:
                self._notices.unreadable(pdu.kind, products, "an event of the 5G core that cannot be read", now_ns)
                return False
            session, kind = self._event(session, kind, now, call=told.is_call(pdu.payload))
            xiri = pdu.payload
        else:
            self._notices.unreadable(pdu.kind, products, "signalling of a form that has no place in HI2", now_ns)
            return False
        session.heard = now
        self._sessions.changed(session)
        self._iri(session, products, kind, times, qualifier_of(pdu), message=message, xiri=xiri)
        return True

    def _sip(self, session: Correlated, pdu: Pdu, now: float) -> tuple[Correlated, IriType]:
        addresses = pdu.addresses
        try:
            message = sip.read(pdu.payload)
        except sip.SipError:
            kind = IriType.REPORT
        else:
            if not pdu.correlation:
                kind = IriType.REPORT
            else:
                if iri_rules.begins_anew(session.rules, message):
                    session = self._anew(session, now)
                kind, session.rules = iri_rules.sip_step(session.rules, message)
        session.kind = "sip"
        session.addresses = str(addresses.source or _NOBODY), str(addresses.destination or _NOBODY)
        return session, kind

    def _event(self, session: Correlated, said: IriType, now: float, *, call: bool) -> tuple[Correlated, IriType]:
        if not session.correlation:
            return session, IriType.REPORT
        if iri_rules.event_begins_anew(session.rules, said):
            session = self._anew(session, now)
        kind, session.rules = iri_rules.event_step(session.rules, said)
        session.kind = "sip" if call else "5g"
        return session, kind

    def _anew(self, session: Correlated, now: float) -> Correlated:
        """Under the number of one that has ended."""
        self._drop(session)
        return self._sessions.anew(session.xid, session.correlation, now)

    def fell_silent(self, session: Correlated, products: tuple[Product, ...], now_ns: int) -> None:
        """No BYE, no media, no answer: it is told as ended, by an End that holds no message."""
        kind, session.rules = iri_rules.step(session.rules, Signal.GONE)
        self._sessions.changed(session)
        self._iri(session, products, kind, (now_ns, now_ns), Qualifier.MEDIATION)

    def _iri(
        self,
        session: Correlated,
        products: tuple[Product, ...],
        kind: IriType,
        times: tuple[int, int],
        qualifier: Qualifier,
        *,
        message: bytes = b"",
        xiri: bytes = b"",
    ) -> None:
        at_ns, now_ns = times
        source, destination = session.addresses
        for product in products:
            if product.kind is not DataType.IRI:
                continue
            if not product.covers(at_ns) or now_ns - product.end_ns > self._late_ns:
                self._notices.outside(product)
                continue
            line = self._streams.line(product, session)
            template = line.signalling()
            if xiri:
                payload = threegpp.iri_from_xiri(xiri, product.targets)
                pdu = template.threegpp(line.sequence, at_ns, kind, payload, qualifier=qualifier)
            else:
                octets = sip.without_content(message) if product.iri_only else message
                pdu = template.sip(
                    line.sequence, at_ns, kind, source, destination, octets, product.iri_only, qualifier=qualifier
                )
            line.put(pdu, now_ns)
            self._streams.check(line)


def qualifier_of(pdu: Pdu) -> Qualifier:
    """Whose time a PDU has."""
    return Qualifier.MEDIATION if pdu.timestamp_ns is None else Qualifier.INTERCEPTION
