"""What the drivers of the IPTV tree observed, as sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import ValidationError

from headend.multicast.amt.documents import AmtSection
from headend.multicast.documents import (
    FrrSection,
    InterfacesSection,
    MonitorSection,
    OutputSection,
    ProxySection,
    SourceSection,
    TreeSection,
)
from nf.contracts.adopter import Observed
from nf.contracts.json import JsonObject
from nf.documents.model import DocumentModel

_NOT_IN_SECTIONS: Final = frozenset(
    {"extra", "missing", "units", "down", "rp_filter", "damage", "pins", "routes", "unit"}
)
"""What drivers add to an observed section to say that it is not as it should be."""

Costs = Mapping[str, Mapping[str, int]]
T = TypeVar("T", bound=DocumentModel)


class Reading:
    """The observation as sections; what does not fit them is a problem."""

    def __init__(self, observed: Observed) -> None:
        self.problems: list[str] = []
        self.interfaces = self._all(observed, "interfaces", InterfacesSection)
        self.frr = self._all(observed, "frr", FrrSection)
        self.trees = self._all(observed, "multicast-tree", TreeSection)
        self.sources = self._all(observed, "multicast-source", SourceSection)
        self.outputs = self._all(observed, "multicast-output", OutputSection)
        self.proxies = self._all(observed, "multicast-proxy", ProxySection)
        self.tunnels = self._all(observed, "multicast-amt", AmtSection)
        self.monitors = self._all(observed, "multicast-monitor", MonitorSection)

    def _all(self, observed: Observed, section: str, model: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for appliance, sections in sorted(observed.items()):
            value = sections.get(section)
            if value is None:
                continue
            self.problems += [f"{appliance}, section {section}: {text}" for text in _faults(value)]
            try:
                found[appliance] = model.model_validate(
                    {key: inner for key, inner in value.items() if key not in _NOT_IN_SECTIONS}
                )
            except ValidationError as error:
                told = error.errors()[0]
                where = ".".join(map(str, told["loc"]))
                self.problems.append(f"{appliance}, section {section}: {where}: {told['msg']}")
        return found

    def costs(self) -> Costs:
        return {name: {i.name: i.cost for i in section.interfaces} for name, section in self.frr.items()}


def _faults(value: JsonObject) -> list[str]:
    """What the driver says is there beyond the section, or lacks."""
    return [f"{key}: {value[key]}" for key in sorted(_NOT_IN_SECTIONS & value.keys())]
