"""The 5G core's way back: paths of type `upf-breakout`, from what steers at the UPFs.

The core itself stands in the fleet's equipment, which adoption keeps as it is written: what runs on the boxes, with its
addresses, pools and selection, is made of that.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from pydantic import ValidationError

from core5g.documents import EQUIPMENT, BreakoutPath
from core5g.steering.n6.documents import SECTION, N6Path, N6Section
from nf.contracts.adopter import Adopted, AdoptedPath, Observed
from nf.documents.fleet import Fleet

SECTIONS: Final = frozenset({SECTION, "open5gs", "n6-network", "pfcp-proxy", "core5g-observation"})

_Found = dict[tuple[str, str], list[tuple[N6Path, N6Section]]]


class CoreAdopter:
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
            return Adopted(problems=(f"a 5G core runs, and the fleet's equipment has no part {EQUIPMENT}: {told}",))
        steered, problems = _steered(observed)
        paths = tuple(_path(found) for _, found in sorted(steered.items()))
        return Adopted(paths=paths, problems=problems)


def _steered(observed: Observed) -> tuple[_Found, tuple[str, ...]]:
    """(channel, path) -> what each UPF has of it; what cannot be read is a problem."""
    found: _Found = defaultdict(list)
    problems: list[str] = []
    for appliance, sections in sorted(observed.items()):
        value = sections.get(SECTION)
        if value is None:
            continue
        where = f"{appliance}, section {SECTION}"
        if "altered" in value:
            problems.append(f"{where}: altered: {value['altered']}")
        try:
            section = N6Section.model_validate({key: inner for key, inner in value.items() if key != "altered"})
        except ValidationError as error:
            told = error.errors()[0]
            problems.append(f"{where}: {'.'.join(map(str, told['loc']))}: {told['msg']}")
            continue
        for path in section.paths:
            found[path.channel, path.path].append((path, section))
    return found, tuple(problems)


def _path(found: list[tuple[N6Path, N6Section]]) -> AdoptedPath:
    """Where several paths are steered alike, which prefix is whose stands on no box: each gets them all."""
    (path, section), *_ = found
    several = any(len(one.paths) > 1 for _, one in found)
    made = BreakoutPath(
        id=path.path,
        type="upf-breakout",
        rate_bps=path.rate_bps,
        of=path.of,
        upfs=tuple(one.upf for _, one in found if one.upf is not None),
        prefixes=section.prefixes,
        names=section.names,
    )
    return AdoptedPath(path.channel, made, doubts=("prefixes", "names") if several else ())
