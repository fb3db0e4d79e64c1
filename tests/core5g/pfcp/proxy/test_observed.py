"""What the proxy tells of sessions, and whom: the observation process of the same appliance reads it."""

from __future__ import annotations

import pwd
import stat
from pathlib import Path

import pytest

from core5g.observation.sessions import n4_session
from core5g.observation.units import USER
from core5g.pfcp.proxy import process
from core5g.pfcp.proxy.sessions import packed, unpacked
from core5g.pfcp.proxy.units import OBSERVER, unit_spec
from tests.core5g.pfcp.proxy.peers import GNB, SMF, SUPI, UE, UPF, Net, section


def test_events_say_who_it_is_as_the_observation_process_reads_it() -> None:
    net = Net()
    net.proxy.observed = True
    seid = net.steered()
    events = net.proxy.take_events()
    (key, session) = n4_session(events[-1])
    assert (key, session.supi, session.dnn, session.s_nssai) == (str(seid), SUPI, "internet", {"sst": 1})
    assert (session.gpsi, session.pei) == (("msisdn-0900000000",), "imeisv-4370816125816151")
    assert [str(address) for address in session.ue] == [UE]
    assert (str(session.upf[0].address), session.gnb and session.gnb.teid) == (UPF.address, GNB[0])
    (standing,) = net.proxy.standing()
    assert n4_session(standing)[1] == session
    net.send(SMF, net.smf.release(seid))
    assert net.proxy.take_events()[-1]["event"] == "session-end"


def test_who_it_is_outlives_the_proxy() -> None:
    net = Net()
    net.steered()
    (session,) = net.proxy.table
    assert unpacked(session.key, *packed(session)).whose == session.whose


def test_the_observer_is_the_user_of_the_observation_process(tmp_path: Path) -> None:
    assert OBSERVER == USER
    assert "CAP_CHOWN" in unit_spec(section(), tmp_path, tmp_path).sandbox.capabilities


@pytest.mark.root
def test_the_socket_is_the_observers_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for user, owner in (("nobody", pwd.getpwnam("nobody").pw_uid), ("nf-nobody-is-called-so", 0)):
        monkeypatch.setattr(process, "OBSERVER", user)
        with process._events(tmp_path / "events.sock"):
            found = (tmp_path / "events.sock").stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (owner, 0o600)
