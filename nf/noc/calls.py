"""Calls of appliances that last: each ends at once when the certificate that began it no longer counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nf.errors import IdentityError
from nf.trust.spiffe import SpiffeId

Certificate = tuple[SpiffeId, int]
"""Whose it is, and its serial number."""


@dataclass(eq=False, slots=True)
class Call:
    """`end` makes it come to its end; it then asks `check` why. One that has none yet asks before it goes on."""

    certificate: Certificate
    end: Callable[[], object] | None
    revoked: bool = False

    def check(self) -> None:
        """Raises IdentityError when it was ended because its certificate no longer counts."""
        if self.revoked:
            raise IdentityError("this identity is revoked", where=str(self.certificate[0]), remedy="enrol anew")


class Calls:
    """Those that run now."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()

    @contextmanager
    def running(self, certificate: Certificate, end: Callable[[], object] | None = None) -> Iterator[Call]:
        call = Call(certificate, end)
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    def certificates(self) -> frozenset[Certificate]:
        return frozenset(call.certificate for call in self._calls)

    def end(self, revoked: Collection[Certificate]) -> None:
        """End the calls that these certificates began."""
        for call in tuple(self._calls):
            if call.certificate in revoked and not call.revoked:
                call.revoked = True
                if call.end is not None:
                    call.end()
