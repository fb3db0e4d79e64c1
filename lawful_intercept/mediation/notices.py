"""What is told of product that cannot be handed over: alarms to LI officers, messages to the agency whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lawful_intercept.handover import tri
from lawful_intercept.handover.encryption import PayloadCipher
from lawful_intercept.handover.values import DataType
from lawful_intercept.mediation.alarms import Alarms, Code
from lawful_intercept.mediation.correlation import Counters, Numbers
from lawful_intercept.mediation.lines import Staging
from lawful_intercept.mediation.products import Product
from lawful_intercept.x1.lost import Lost
from lawful_intercept.x2x3.codec import PduType

_U32 = 0xFFFFFFFF


@dataclass(slots=True)
class Counted:
    """Since this process began; for LI officers. `elsewhere`: media that another point has delivered, too."""

    taken: int = 0
    duplicates: int = 0
    elsewhere: int = 0
    unknown: int = 0
    outside: int = 0
    missing: int = 0
    unreadable: int = 0


class Notices:
    """`stage_of`: what takes PS-PDUs for the spool of a label. `cipher_of`: a product's, where it is encrypted."""

    def __init__(
        self,
        numbers: Numbers,
        counters: Counters,
        stage_of: Callable[[str], Staging],
        cipher_of: Callable[[Product], PayloadCipher | None],
        alarms: Alarms,
    ) -> None:
        self._numbers = numbers
        self._counters = counters
        self._stage_of = stage_of
        self._cipher_of = cipher_of
        self._alarms = alarms
        self.counted = Counted()

    def unknown(self) -> None:
        self.counted.unknown += 1
        self._alarms.happened(Code.UNKNOWN_TASK, "", "a point delivers for a task that is not here")

    def missing(self, kind: PduType, products: tuple[Product, ...], missing: int | None, now_ns: int) -> None:
        """A gap in a point's numbers; None: nobody can count it."""
        self.counted.missing += missing or 0
        what = "IRI" if kind is PduType.X2 else "CC"
        # A point that crashed leaves out numbers that it had reserved: fewer may be missing.
        count = "an unknown number of" if missing is None else f"up to {missing}"
        text = f"{count} {kind.name} PDUs of a point did not arrive"
        units = {"iri" if kind is PduType.X2 else "cc": missing or 0}
        self._alarms.happened(Code.GAP, str(products[0].xid), text, Lost(**units, uncounted=missing is None))
        self._tell(products, kind, f"{count} {what} units were lost before mediation", now_ns)

    def unreadable(self, kind: PduType, products: tuple[Product, ...], what: str, now_ns: int) -> None:
        self.counted.unreadable += 1
        self._alarms.happened(Code.UNREADABLE, str(products[0].xid), f"a point delivered {what}")
        self._tell(products, kind, "a unit could not be converted for handover", now_ns)

    def _tell(self, products: tuple[Product, ...], kind: PduType, text: str, now_ns: int) -> None:
        """The agencies whose product it concerns: on HI2, or on HI3 where that is all they take."""
        wanted = DataType.IRI if kind is PduType.X2 else DataType.CC
        concerned = [one for one in products if one.kind is wanted and one.covers(now_ns)]
        for product in concerned:
            alike = [one for one in products if (one.liid, one.did) == (product.liid, product.did)]
            self.message(min(alike, key=lambda one: one.kind), text, now_ns)

    def inform(self, products: tuple[Product, ...], text: str, now_ns: int) -> None:
        """What a point says of its own and no standard has a form for: it is product, and encrypted as such."""
        for product in products:
            if product.kind is DataType.IRI and product.covers(now_ns):
                self._stage(product, text, now_ns, tri.Priority.INFORMATIONAL, self._cipher_of(product))

    def message(self, product: Product, text: str, now_ns: int) -> None:
        """An operatorLeaMessage, in clear: it says what is wrong with product, and nothing that is in it."""
        self._stage(product, text, now_ns, tri.Priority.ERROR, None)

    def _stage(
        self, product: Product, text: str, now_ns: int, priority: tri.Priority, cipher: PayloadCipher | None
    ) -> None:
        number = self._numbers.of(f"message/{product.did}/{product.liid}")
        octets = tri.operator_message(
            product.header(), None, number.value & _U32, now_ns, priority, message=text, cipher=cipher
        )
        number.value += 1
        self._counters.changed.add(number)
        self._stage_of(f"{product.did}/{int(product.kind)}").stage(octets)

    def outside(self, product: Product) -> None:
        self.counted.outside += 1
        self._alarms.happened(
            Code.OUTSIDE, str(product.xid), "product outside of its warrant's time came, and was dropped"
        )
