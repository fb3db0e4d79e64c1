"""Observation processes stand wherever the core stands, and each session is told at one of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from itertools import chain
from typing import Any

from core5g.documents import Classifier, Core5g, CoreFunction, DataNetwork, Plmn, Slice, Upf
from core5g.observation.documents import InfoApi, ObservationSection
from core5g.observation.planner import ObservationPlanner
from core5g.observation.sessions import Fteid
from core5g.observation.tracker import told_here
from nf.documents.fleet import Appliance, Fleet, FleetSpec, Interface, Role
from nf.documents.lineup import LineUp
from nf.documents.model import Metadata
from tests.core5g.observation.world import session

PLANNER = ObservationPlanner()
LINEUP = LineUp.model_construct()


def upf(name: str, appliance: str, number: int, *dnns: str) -> Upf:
    n3, n4 = IPv4Address(f"10.70.{number}.1"), IPv4Address(f"10.71.{number}.1")
    return Upf(id=name, appliance=appliance, n3=n3, n4=n4, dnns=dnns or ("internet",), exit="eth9")


def function(kind: Any, appliance: str, address: str) -> CoreFunction:
    return CoreFunction(kind=kind, appliance=appliance, address=IPv4Address(address))


def fleet(**given: Any) -> Fleet:
    core = Core5g(
        plmn=Plmn(mcc="001", mnc="01"),
        tacs=(1,),
        slices=(Slice(sst=1),),
        networks=(DataNetwork(dnn="internet", pools=("10.45.0.0/16",)),),
        **given,
    )
    appliances = tuple(
        Appliance(
            id=name,
            site="s1",
            role=Role.POP,
            serial=name,
            management=IPv4Address(f"192.0.2.{number}"),
            interfaces=(
                Interface(name="eth1", address=IPv4Interface(f"10.70.{number}.1/24")),
                Interface(name="eth2", address=IPv4Interface(f"10.72.{number}.1/24")),
            ),
        )
        for number, name in enumerate(("core1", "pop1", "pop2"), 1)
    )
    return Fleet.model_construct(
        metadata=Metadata(name="f"), spec=FleetSpec(appliances=appliances, equipment={"core5g": core})
    )


def sections(**given: Any) -> dict[str, ObservationSection]:
    found = PLANNER.plan(LINEUP, fleet(**given)).sections
    return {place: ObservationSection.model_validate(one["core5g-observation"]) for place, one in found.items()}


CORE = (function("smf", "core1", "10.1.0.4"), function("amf", "core1", "10.1.0.5"), function("nrf", "pop2", "10.1.0.6"))


def test_wherever_a_upf_an_smf_or_an_amf_stands() -> None:
    found = sections(functions=CORE, upfs=(upf("upf1", "pop1", 2, "internet", "ims"),))
    assert set(found) == {"core1", "pop1"}
    core, pop = found["core1"], found["pop1"]
    assert core.smfs == (InfoApi(address="10.1.0.4", port=9091, local=True),)
    assert core.amfs == (InfoApi(address="10.1.0.5", port=9090, local=True),)
    assert (core.anchors, core.elsewhere, core.n6, core.n3) == ((), (IPv4Address("10.70.2.1"),), (), ())
    assert pop.smfs == (InfoApi(address="10.1.0.4", port=9091, local=False),)
    assert (pop.amfs, pop.n4) == ((), False)
    assert (pop.anchors, pop.elsewhere, pop.n6) == ((IPv4Address("10.70.2.1"),), (), ("ogstun", "ogstun2"))
    assert [(one.address, one.interfaces) for one in pop.n3] == [(IPv4Address("10.70.2.1"), ("eth1",))]


def test_a_loopbacks_gtpu_comes_in_by_any_interface() -> None:
    found = sections(upfs=(upf("upf1", "pop1", 99),))
    assert found["pop1"].n3[0].interfaces == ("eth1", "eth2")


def test_who_sees_n4_tells_and_the_others_copy() -> None:
    classifier = Classifier(id="c1", appliance="pop2", address=IPv4Address("10.73.0.1"), upf="upf1", edge="upf2")
    found = sections(functions=CORE, upfs=(upf("upf1", "pop1", 2), upf("upf2", "pop2", 3)), classifiers=(classifier,))
    assert (found["pop2"].n4, found["pop1"].n4) == (True, False)
    assert found["pop2"].anchors == (IPv4Address("10.70.2.1"), IPv4Address("10.70.3.1"))
    assert found["pop1"].anchors == ()


def test_each_session_is_told_at_exactly_one_appliance() -> None:
    classifier = Classifier(id="c1", appliance="pop2", address=IPv4Address("10.73.0.1"), upf="upf1", edge="upf2")
    upfs = (upf("upf1", "pop1", 2), upf("upf2", "pop2", 3))
    for classifiers in ((), (classifier,)):
        found = sections(functions=CORE, upfs=upfs, classifiers=classifiers)
        for address in ("10.70.2.1", "10.70.3.1", "10.99.0.1"):
            one = session(upf=(Fteid(IPv4Address(address), 1),))
            told = [
                told_here(section.anchors, section.elsewhere)(
                    f"{'smf-local' if api.local else 'smf'}:{api.address}:{api.port}", one
                )
                for section in found.values()
                for api in section.smfs
            ]
            assert sum(told) == 1, address


def test_no_document_says_anything_of_who_is_observed() -> None:
    """The rendering is of the fleet alone: there is no field that an order could fill."""
    found = sections(functions=CORE, upfs=(upf("upf1", "pop1", 2),))
    keys = set(chain.from_iterable(section.to_json() for section in found.values()))
    assert keys <= {"smfs", "amfs", "n4", "anchors", "elsewhere", "n6", "n3", "requires", "provides"}


def test_a_fleet_without_a_5g_core_has_none() -> None:
    empty = Fleet.model_construct(metadata=Metadata(name="f"), spec=FleetSpec())
    assert not PLANNER.plan(LINEUP, empty).sections
