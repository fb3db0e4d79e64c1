"""Steps and their costs from plain values, and alarms and samples from plain readings."""

from __future__ import annotations

from typing import Any

import pytest

from nf.contracts.driver import State
from nf.contracts.json import JsonObject
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.telemetry.samples import Sample
from sip.freeswitch.live import Live, Room, Status, channels_of, profile_of, rooms_of, status_of, total_of
from sip.freeswitch.plan import CONFIGURE, REMOVE, differences, plan
from sip.freeswitch.telemetry import FULL, NO_SIP, PAUSED, SILENT, MediaWatch
from tests.sip.freeswitch.samples import section

STATUS = """UP 0 years, 3 days, 0 hours, 7 minutes, 45 seconds, 418 milliseconds, 715 microseconds
FreeSWITCH (Version 1.10.12 -release-(git a88d069) 64bit) is ready
18 session(s) since startup
3 session(s) - peak 7, last 5min 5
2 session(s) per Sec out of max 30, peak 4, last 5min 4
1000 session(s) max
min idle cpu 0.00/96.87
Current Stack Size/Max 240K/8192K
"""
PROFILES = """                     Name\t   Type\t                                      Data\tState
=================================================================================================
                 external\tprofile\t           sip:mod_sofia@10.0.0.7:5090\tRUNNING (0)
            external::peer\tgateway\t                        sip:joe@peer\tNOREG
                    voice\tprofile\t           sip:mod_sofia@10.1.0.1:5080\tRUNNING (3)
                    alias\t  alias\t                               voice\tALIASED
=================================================================================================
2 profiles 1 alias
"""
ROOMS = """+OK Conference room-9001 (2 members rate: 8000 flags: running|answered|enforce_min|dynamic|exit_sound)
3;sofia/voice/alice@voice.test;1;Alice;alice;hear|speak|floor;0;0;100
4;sofia/voice/bob@voice.test;2;Bob;bob;hear|speak;0;0;100
+OK Conference room-9009 (1 member rate: 8000 flags: running|answered)
"""


def state(live: JsonObject | None = None, **changes: Any) -> State:
    return State({**section(**changes).to_json(), **({"live": live} if live is not None else {})})


def test_what_runs_as_is_wanted_needs_nothing() -> None:
    assert plan(state({"calls": 3}), section()) == ()
    assert plan(State(None), None) == ()
    assert differences(state({"calls": 3}).value, section()) == ()


@pytest.mark.parametrize(
    ("have", "changes", "summary", "disruption"),
    [
        (State(None), {}, "start media1", ""),
        (state({"calls": 12}), {"rate": 9}, "media1: limits, while it runs", ""),
        (state({"calls": 12}), {"server": {"drained": True}}, "media1 takes no new calls", ""),
        (state({"calls": 12}, server={"drained": True}), {}, "media1 takes new calls", ""),
        (state({"calls": 12}), {"server": {"weight": 9}}, "media1: its share, while it runs", ""),
        (
            state({"calls": 1204}),
            {"server": {"port": 5090}},
            "restart media1",
            "restarting media1 drops 1,204 calls; to drain it first: nf sip drain media1",
        ),
        (state({"calls": 0}), {"server": {"port": 5090}}, "restart media1", ""),
        (
            state({"calls": 1, "amiss": "runs as another program", "cure": "restart"}),
            {},
            "restart media1",
            "restarting media1 drops 1 call; to drain it first: nf sip drain media1",
        ),
        (
            state({"amiss": "does not answer", "cure": "restart"}),
            {},
            "restart media1",
            "restarting media1 drops all its calls; to drain it first: nf sip drain media1",
        ),
        (
            state({"amiss": "has not read its file", "cure": "reload", "calls": 5}),
            {},
            "media1 reads its file again",
            "",
        ),
        (state({"amiss": "is failed exit 1", "cure": "start"}), {}, "start media1", ""),
        (State({"live": {"amiss": "has no file of ours", "cure": "start"}}), {}, "start media1", ""),
    ],
)
def test_one_step_and_what_it_costs(have: State, changes: dict[str, Any], summary: str, disruption: str) -> None:
    want = section(**changes)
    (step,) = plan(have, want)
    assert (step.kind, step.summary, step.disruption) == (CONFIGURE, summary, disruption)
    assert step.arguments == {"section": want.to_json()}
    assert step.provides == {"pop1.voice.media-server"}
    assert differences(have.value, want) != ()


def test_removing_it_costs_its_calls() -> None:
    (step,) = plan(state({"calls": 2}), None)
    assert (step.kind, step.summary) == (REMOVE, "remove media1")
    assert step.disruption == "removing media1 drops 2 calls; to drain it first: nf sip drain media1"
    assert differences(state().value, None) == ("the media server is still there",)


def test_what_freeswitch_prints_is_read() -> None:
    assert status_of(STATUS) == Status("1.10.12 -release-(git a88d069) 64bit", True, 3, 7, 18, 2, 30, 1000, 96.87)
    assert not status_of(STATUS.replace("is ready", "is not ready")).ready
    assert status_of("") == Status()
    assert profile_of(PROFILES) == ("10.1.0.1:5080", "RUNNING")
    assert profile_of("") == ("", "")
    assert rooms_of(ROOMS) == (Room("room-9001", 2), Room("room-9009", 1))
    assert rooms_of("+OK No active conferences.\n") == ()
    assert (total_of("\n17 total.\n"), total_of("")) == (17, 0)
    assert channels_of('{"row_count":0}') == ()
    for bad in ("", "[]", '{"rows": 3}', '{"rows": [3]}', "[" * 100_000):
        assert channels_of(bad) == ()
    row = '{"uuid": "u", "direction": "inbound", "created_epoch": "9", "callstate": "ACTIVE", "cid_num": "alice"}'
    (channel,) = channels_of(f'{{"row_count": 1, "rows": [{row}]}}')
    assert (channel.uuid, channel.at, channel.state, channel.caller, channel.called) == ("u", 9, "ACTIVE", "alice", "")


def live(sessions: int = 0, **changes: Any) -> Live:
    return Live(**{"status": Status(sessions=sessions, most=10), "calls": 0, "profile_state": "RUNNING", **changes})


def alarms(
    watch: MediaWatch, reading: Live | None, *, held: bool = False, drained: bool = False
) -> list[tuple[str, Severity]]:
    made = section(server={"drained": drained})
    events = watch.take(made, reading, held=held, at=1.0)
    return [(one.cause, one.severity) for one in events if isinstance(one, AlarmEvent)]


def test_alarms_are_said_when_they_change() -> None:
    watch = MediaWatch("pop1")
    assert alarms(watch, live()) == []
    assert alarms(watch, None) == [(SILENT, Severity.MAJOR)]
    assert alarms(watch, None) == []
    assert alarms(watch, live(9)) == [(FULL, Severity.WARNING), (SILENT, Severity.CLEARED)]
    assert alarms(watch, live(10)) == [(FULL, Severity.MAJOR)]
    assert alarms(watch, live(profile_state="")) == [(NO_SIP, Severity.CRITICAL), (FULL, Severity.CLEARED)]
    assert alarms(watch, live(paused=True)) == [(PAUSED, Severity.WARNING), (NO_SIP, Severity.CLEARED)]
    assert alarms(watch, live(paused=True), held=True) == [(PAUSED, Severity.CLEARED)]
    assert alarms(watch, live(paused=True), drained=True) == []
    assert list(watch.take(None, None, held=False, at=2.0)) == []


def test_samples_hold_numbers_and_nobody() -> None:
    reading = live(4, rooms=(Room("room-9001", 3), Room("room-9009", 1)))
    media, rooms = (one for one in MediaWatch("pop1").take(section(), reading, held=False, at=1.0))
    assert isinstance(media, Sample)
    assert isinstance(rooms, Sample)
    assert (media.kind, media.labels) == ("voice.media", {"point": "media", "server": "media1"})
    assert (media.values["sessions"], media.values["share"]) == (4.0, 0.4)
    assert rooms.values == {"conferences": 2.0, "members": 4.0}
