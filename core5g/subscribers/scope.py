"""Which subscribers somebody may see and touch: those of one PLMN, which is an operator's own or an MVNO's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core5g.documents import Plmn
from core5g.subscribers.showing import shown
from nf.errors import DeniedError, InputError

_PLMN = re.compile(r"([0-9]{3})[-.]?([0-9]{2,3})")


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that reads or writes goes through one, so that nothing reaches another PLMN's subscribers.

    Inside one country the network codes have the same length (ITU-T E.212), so that no prefix contains another.
    """

    mcc: str
    mnc: str

    @classmethod
    def parse(cls, text: str, where: str = "--plmn") -> Scope:
        """`999-70` or `99970`. Raises InputError."""
        match = _PLMN.fullmatch(text.strip())
        if match is None:
            raise InputError("not a PLMN", where=f"{where} {shown(text)}", remedy="write it as 999-70")
        return cls(match[1], match[2])

    @classmethod
    def of(cls, plmn: Plmn) -> Scope:
        return cls(plmn.mcc, plmn.mnc)

    def __str__(self) -> str:
        return f"{self.mcc}-{self.mnc}"

    @property
    def prefix(self) -> str:
        """Of its IMSIs."""
        return self.mcc + self.mnc

    def covers(self, imsi: str) -> bool:
        return imsi.startswith(self.prefix)

    def require(self, imsi: str) -> None:
        """Raises DeniedError, which is the same whether there is such a subscriber or not."""
        if not self.covers(imsi):
            raise DeniedError(
                f"this IMSI is not of PLMN {self}", where=shown(imsi), remedy=f"its IMSIs begin with {self.prefix}"
            )
