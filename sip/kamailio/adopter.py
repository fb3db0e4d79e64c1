"""The voice core's way back: it stands in the fleet's equipment, which adoption keeps as it is written.

What a proxy runs with was made of that; a proxy that is in no fleet is told, and nothing is adopted then.
"""

from __future__ import annotations

from typing import Final

from nf.contracts.adopter import Adopted, Observed
from nf.documents.fleet import Fleet
from sip.documents import EQUIPMENT
from sip.kamailio.documents import SECTION, VOICE_ADDRESS

SECTIONS: Final = frozenset({SECTION, VOICE_ADDRESS})


class VoiceAdopter:
    @property
    def name(self) -> str:
        return EQUIPMENT

    @property
    def sections(self) -> frozenset[str]:
        return SECTIONS

    def adopt(self, observed: Observed, known: Fleet) -> Adopted:
        here = {name: sorted(SECTIONS & sections.keys()) for name, sections in observed.items()}
        running = {name: found for name, found in here.items() if found}
        if running and EQUIPMENT not in known.spec.equipment:
            told = "; ".join(f"{name}: {', '.join(found)}" for name, found in sorted(running.items()))
            return Adopted(problems=(f"a voice core runs, and the fleet's equipment has no part {EQUIPMENT}: {told}",))
        return Adopted()
