"""The 5G core's way back: paths of type `upf-breakout`, from what steers at the UPFs.

The core itself stands in the fleet's equipment, which adoption keeps as it is written: what runs on the boxes, with its
addresses, pools and selection, is made of that.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from pydantic import ValidationError

from core5g.documents import EQUIPMENT, BreakoutPath
from core5g.pfcp.proxy.documents import SECTION as PROXY
from core5g.pfcp.proxy.documents import ProxySection
from core5g.steering.n6.documents import SECTION, N6Path, N6Section
from nf.contracts.adopter import Adopted, AdoptedPath, Observed
from nf.documents.fleet import Fleet

SECTIONS: Final = frozenset({SECTION, "open5gs", "n6-network", PROXY, "core5g-observation"})

_Found = dict[tuple[str, str], list[tuple[N6Path, N6Section]]]
_Classified = dict[str, list[ProxySection]]
"""Edge UPF -> the classifiers that send it traffic for the CDN."""


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
        classified, more = _classified(observed)
        paths = tuple(_path(found, classified) for _, found in sorted(steered.items()))
        return Adopted(paths=paths, problems=(*problems, *more))


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


def _classified(observed: Observed) -> tuple[_Classified, tuple[str, ...]]:
    """Proxies that only relay steer nothing."""
    found: _Classified = defaultdict(list)
    problems: list[str] = []
    for appliance, sections in sorted(observed.items()):
        value = sections.get(PROXY)
        if value is None:
            continue
        try:
            section = ProxySection.model_validate(value)
        except ValidationError as error:
            told = error.errors()[0]
            problems.append(f"{appliance}, section {PROXY}: {'.'.join(map(str, told['loc']))}: {told['msg']}")
            continue
        if section.edge is not None and section.rules:
            found[section.edge.id].append(section)
    return found, tuple(problems)


def _path(found: list[tuple[N6Path, N6Section]], classified: _Classified) -> AdoptedPath:
    """Where several paths are steered alike, which prefix is whose stands on no box: each gets them all. A path that
    leaves at an edge by its classifier alone reads as one of the edge too."""
    (path, section), *_ = found
    several = any(len(one.paths) > 1 for _, one in found)
    upfs = {one.upf for _, one in found if one.upf is not None}
    upfs |= {one.upf.id for edge in sorted(upfs) for one in classified.get(edge, ()) if _sends(one, path)}
    made = BreakoutPath(
        id=path.path,
        type="upf-breakout",
        rate_bps=path.rate_bps,
        of=path.of,
        upfs=tuple(sorted(upfs)),
        prefixes=section.prefixes,
        names=section.names,
    )
    return AdoptedPath(path.channel, made, doubts=("prefixes", "names") if several else ())


def _sends(section: ProxySection, path: N6Path) -> bool:
    """A rule that several paths share names none of them."""
    named = {(rule.channel, rule.path) for rule in section.rules}
    return (path.channel, path.path) in named or (None, None) in named
