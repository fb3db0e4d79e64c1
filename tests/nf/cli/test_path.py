"""`nf path`: what it asks, what it prints, how it ends."""

from __future__ import annotations

from nf.control.v1 import paths_pb2 as pb
from nf.errors import RefusedError
from tests.nf.cli import samples
from tests.nf.cli.conftest import FakeNoc, Nf


def channel(site: str = "pop1", active: str = "iptv", **more: object) -> pb.ChannelAtSite:
    paths = [
        pb.PathState(path="iptv", type="ssm", verdict="up", since=samples.AT, preference=2),
        pb.PathState(path="sat", type="dvb-s2x", verdict="down", since=samples.AT, preference=1, reason="no lock"),
    ]
    known = {"reason": "sat is down: no lock", "alert": True, "switches": 1, "max_per_hour": 4, "phase": "settled"}
    return pb.ChannelAtSite(channel="ch1", site=site, active=active, paths=paths, **{**known, **more})


def test_the_list_says_what_is_taken_and_why(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListPaths"] = pb.ListPathsResponse()
    assert nf("path", "list").out == "no path of the current line-up comes to a site\n"
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel()])
    shown = nf("path", "list", "--site", "pop1").out
    assert noc.requests("ListPaths")[-1].site == "pop1"
    for word in ("ch1", "pop1", "iptv", "sat down", "sat is down: no lock", "1 of 4 switches this hour"):
        assert word in shown
    assert nf("path", "list", "--json").json()[0]["active"] == "iptv"


def test_a_channel_without_a_usable_path_has_an_exit_code_of_its_own(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel()])
    good = nf("path", "show", "ch1")
    assert good.code == 0
    assert "iptv *" in good.out
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel(), channel("pop2", "")])
    bad = nf("path", "show", "ch1", "--json")
    assert bad.code == 9
    assert [one["active"] for one in bad.json()] == ["iptv", ""]
    assert "no path can be used" in nf("path", "show", "ch1").out


def test_the_history_names_who_and_why(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListSwitches"] = pb.ListSwitchesResponse()
    assert nf("path", "history").out == "no switch on record\n"
    switch = pb.PathSwitch(
        number=1, at=samples.AT, channel="ch1", site="pop1", source="sat", target="iptv", kind="failover", tier="T0",
        reason="no lock", author=samples.ANNA,
    )  # fmt: skip
    noc.answers["ListSwitches"] = pb.ListSwitchesResponse(switches=[switch])
    shown = nf("path", "history", "ch1", "--limit", "5").out
    assert (noc.requests("ListSwitches")[-1].channel, noc.requests("ListSwitches")[-1].limit) == ("ch1", 5)
    for word in ("sat", "iptv", "failover", "T0", "anna", "no lock"):
        assert word in shown
    assert nf("path", "history", "--json").json()[0]["tier"] == "T0"


def test_an_approval_goes_to_the_one_site_that_waits(nf: Nf, noc: FakeNoc) -> None:
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel(waiting="sat"), channel("pop2", alert=False)])
    noc.answers["ApproveFailback"] = pb.ApproveFailbackResponse(path="sat", text="sat is taken again")
    assert nf("path", "approve", "ch1").out == "ch1 at pop1: sat is taken again\n"
    assert noc.requests("ApproveFailback")[-1].site == "pop1"
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel(waiting="sat"), channel("pop2", follows="sat")])
    several = nf("path", "approve", "ch1", "--json")
    assert several.error()["remedy"] == "--site pop1 or pop2"
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel()])
    assert "nothing of this kind" in nf("path", "approve", "ch1").err
    noc.answers["ApproveFailback"] = pb.ApproveFailbackResponse(path="sat", text="told", appliance="pop1")
    assert nf("path", "approve", "ch1", "--site", "pop1", "--path", "sat").out == "ch1 at pop1 (pop1): told\n"
    noc.answers["ApproveFailback"] = RefusedError("sat is down: no lock", where="ch1/pop1")
    assert nf("path", "approve", "ch1", "--site", "pop1").code == 3


def test_hold_and_release(nf: Nf, noc: FakeNoc) -> None:
    hold = pb.PathHold(author=samples.ANNA, reason="new cable", at=samples.AT, until=samples.AT + 60)
    noc.answers["HoldPaths"] = channel(hold=hold)
    answer = nf("path", "hold", "ch1", "--site", "pop1", "--for", "1m", "--reason", "new cable")
    assert answer.out == "ch1 at pop1 stays on iptv until 2027-01-15 08:01:00+00:00\n"
    request = noc.requests("HoldPaths")[-1]
    assert (request.for_s, request.reason) == (60, "new cable")
    noc.answers["ListPaths"] = pb.ListPathsResponse(channels=[channel(hold=hold), channel("pop2")])
    assert "held by" in nf("path", "list").out
    noc.answers["ReleasePaths"] = channel()
    assert nf("path", "release", "ch1").out == "ch1 at pop1 is switched by policy again\n"
    assert nf("path", "hold", "ch1", "--reason", "x").code == 2  # the site is not guessed
