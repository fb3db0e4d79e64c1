"""The files: what Open5GS's own working ones have, and that what was written is read back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core5g.documents import FUNCTIONS
from core5g.open5gs.documents import ManagedFunction
from core5g.open5gs.naming import METRICS_PORTS, SBI_PORTS
from core5g.open5gs.render import from_text, function_tree, to_text, tree_of_upf
from nf.errors import InputError
from tests.core5g.open5gs.samples import CORE, EPC, core, core_data, open5gs, planned, with_epc


def tree(kind: str) -> dict[str, Any]:
    made = with_epc()
    return function_tree(made, next(one for one in made.functions if one.kind == kind))


def managed(kind: str = "udr") -> ManagedFunction:
    return next(one for one in open5gs(planned(), "c1").functions if one.kind == kind)


def test_every_function_can_be_rendered() -> None:
    made = with_epc()
    assert {function.kind for function in made.functions} == set(FUNCTIONS)
    for function in made.functions:
        assert function.kind in function_tree(made, function)


def test_amf() -> None:
    amf = tree("amf")["amf"]
    assert amf["time"] == {"t3512": {"value": 540}}
    assert amf["tai"] == [{"plmn_id": {"mcc": "999", "mnc": "70"}, "tac": [1, 7]}]
    assert amf["plmn_support"][0]["s_nssai"] == [{"sst": 1}, {"sst": 1, "sd": "000080"}]
    assert amf["sbi"]["client"] == {"scp": [{"uri": "http://10.255.0.1:7778"}]}
    assert amf["ngap"] == {"server": [{"address": "10.255.0.1"}]}


def test_mvnos_are_served_by_the_same_cells() -> None:
    made = core(mvnos=[{"mcc": "999", "mnc": "71"}])
    nrf, amf = (
        function_tree(made, next(one for one in made.functions if one.kind == kind))[kind] for kind in ("nrf", "amf")
    )
    assert nrf["serving"] == [{"plmn_id": {"mcc": "999", "mnc": mnc}} for mnc in ("70", "71")]
    assert [(one["plmn_id"]["mnc"], one["tac"]) for one in amf["tai"]] == [("70", [1, 7]), ("71", [1, 7])]
    assert [one["plmn_id"]["mnc"] for one in amf["plmn_support"]] == ["70", "71"]
    assert [one["plmn_id"]["mnc"] for one in amf["guami"]] == ["70"]


@pytest.mark.parametrize(
    ("mvnos", "told"),
    [
        ([("999", "70")], "PLMN 99970 is named twice"),
        ([("999", "71"), ("999", "71")], "PLMN 99971 is named twice"),
        ([("999", "701")], "an IMSI of 999701 would be one of 99970 too"),
        ([("001", f"{number:02}") for number in range(6)], "at most 5 items"),
    ],
)
def test_mvnos_that_no_imsi_could_tell_apart(mvnos: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        core(mvnos=[{"mcc": mcc, "mnc": mnc} for mcc, mnc in mvnos])


def test_smf() -> None:
    whole = tree("smf")
    assert whole["global"]["parameter"] == {"no_pfcp_rr_select": True}
    smf = whole["smf"]
    assert smf["pfcp"]["client"]["upf"] == [
        {"address": "10.255.0.2", "tac": [1]},
        {"address": "10.255.0.3", "tac": [7]},
    ]
    assert smf["session"][0] == {"subnet": "10.45.0.0/16", "gateway": "10.45.0.1", "dnn": "internet"}
    assert smf["session"][1]["gateway"] == "2001:db8:45::1"
    assert smf["dns"] == ["10.3.1.1"]
    assert smf["mtu"] == 1400


def test_upf() -> None:
    made = core()
    upf = tree_of_upf(made, made.upfs[1])["upf"]
    assert upf["pfcp"]["server"] == [{"address": "10.255.0.3"}]
    assert upf["gtpu"]["server"] == [{"address": "10.2.0.3"}]
    assert upf["session"][0] == {"subnet": "10.45.0.0/16", "gateway": "10.45.0.1", "dnn": "internet", "dev": "ogstun"}


def test_nssf_knows_every_slice() -> None:
    client = tree("nssf")["nssf"]["sbi"]["client"]
    assert [entry["s_nssai"] for entry in client["nsi"]] == [{"sst": 1}, {"sst": 1, "sd": "000080"}]
    assert {entry["uri"] for entry in client["nsi"]} == {"http://10.255.0.1:7777"}


def test_without_an_scp_the_registry_is_asked() -> None:
    made = core(functions=[one for one in core().to_json()["functions"] if one["kind"] != "scp"])  # type: ignore[union-attr,index,call-overload]
    udm = function_tree(made, next(one for one in made.functions if one.kind == "udm"))
    assert udm["udm"]["sbi"]["client"] == {"nrf": [{"uri": "http://10.255.0.1:7777"}]}


def test_diameter_peers_name_each_other() -> None:
    for one, other in (("hss", "mme"), ("pcrf", "smf")):
        left, right = tree(one)[one]["freeDiameter"], tree(other)[other]["freeDiameter"]
        assert [(peer["identity"], peer["address"]) for peer in left["connect"]] == [
            (right["identity"], right["listen_on"])
        ]
        assert [(peer["identity"], peer["address"]) for peer in right["connect"]] == [
            (left["identity"], left["listen_on"])
        ]
        assert left["realm"] == right["realm"] == "epc.mnc070.mcc999.3gppnetwork.org"


def test_a_core_without_an_epc_has_no_diameter() -> None:
    made = core()
    assert "freeDiameter" not in function_tree(made, made.functions[9])["smf"]


def test_mme_and_gateways() -> None:
    mme = tree("mme")["mme"]
    assert mme["gtpc"]["client"] == {"sgwc": [{"address": "10.2.0.8"}], "smf": [{"address": "10.255.0.1"}]}
    assert mme["time"] == {"t3412": {"value": 540}}
    assert tree("sgwc")["sgwc"]["pfcp"]["client"] == {"sgwu": [{"address": "10.2.0.7"}]}
    assert tree("sgwu")["sgwu"] == {
        "pfcp": {"server": [{"address": "10.2.0.7"}]},
        "gtpu": {"server": [{"address": "10.2.0.7"}]},
    }


def test_every_kind_has_ports_of_its_own() -> None:
    ports = [*SBI_PORTS.values(), *METRICS_PORTS.values()]
    assert len(ports) == len(set(ports))


# -- the text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("appliance", "kind"),
    [
        *(("c1", kind) for kind in ("nrf", "scp", "ausf", "udm", "udr", "pcf", "bsf", "nssf", "amf", "smf")),
        *(("c2", kind) for kind in ("upf", "hss", "pcrf", "mme", "sgwc")),
        *(("pop1", kind) for kind in ("upf", "sgwu")),
    ],
)
def test_what_is_written_is_read_back(appliance: str, kind: str) -> None:
    plan = planned(core_data(functions=CORE["functions"] + EPC))
    function = next(one for one in open5gs(plan, appliance).functions if one.kind == kind)
    text = to_text(function, lambda _: "open5gs:secret")
    assert from_text(text) == function
    assert kind in yaml.safe_load(text)


def test_numbers_that_are_names_stay_as_they_are() -> None:
    """A parser that takes 00101 for a number would take a PLMN for another one."""
    function = managed("amf")
    assert "mnc: '70'" in to_text(function)


@given(
    st.text(min_size=1).filter(lambda t: ":" not in t and t.strip() == t), st.text().filter(lambda t: t.strip() == t)
)
def test_credentials_stand_in_the_file_and_are_named_when_it_is_read(user: str, password: str) -> None:
    function = managed()
    text = to_text(function, lambda name: f"{user}:{password}" if name == "secret:core5g-db" else "")
    uri = yaml.safe_load(text)["db_uri"]
    assert uri.startswith("mongodb://")
    assert uri.endswith("@10.1.0.20:27017/open5gs")
    assert uri.count("@") == 1
    assert from_text(text) == function


def test_no_secret_is_written_where_nothing_resolves_it() -> None:
    with pytest.raises(InputError, match="nothing resolves secrets"):
        to_text(managed())
    with pytest.raises(InputError, match="no credentials") as caught:
        to_text(managed(), lambda _: "just-a-password")
    assert "just-a-password" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# nf: {", "# nf: {}\n- 1", "# nf: []\na: 1", "# nf: {}\na: [", "udr: {}\n", "\x00"]
)
def test_a_file_that_is_not_ours_is_nothing(text: str) -> None:
    assert from_text(text) is None


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    found = from_text("# nf: " + text)
    assert found is None or isinstance(found, ManagedFunction)
    assert from_text(text) is None


def test_a_change_by_hand_is_seen() -> None:
    function = managed("amf")
    changed = from_text(to_text(function).replace("value: 540", "value: 60"))
    assert changed is not None
    assert changed != function
