"""The chapter of the demo about an uplink classifier: a UE whose session is at a UPF in the core has the CDN from the
cache of a PoP, also while the classifier's PFCP proxy dies and comes back."""

from __future__ import annotations

from dataclasses import dataclass

from lab.scenarios import mobile
from lab.scenarios.console import Console
from lab.scenarios.mobile import CDN_ADDRESS, CHANNEL, POP, SEGMENTS, SEVERAL, STALL_S, STRANGER, STRANGER_NAME, Asked
from lab.scenarios.verdicts import Verdicts

UE, CORE, UPF, EXIT = "ue2", "c1", "anchor", "eth6"
NAT_OF_EXIT = "10.6.2.2"
PROXY = "pfcp-proxy"


def is_steered(console: Console) -> bool:
    """Whether the proxy answers, and its session has the edge's rules."""
    live = mobile.steering(console, UPF)["live"] or {}
    return bool(live.get("open")) and live.get("sessions") == live.get("steered_sessions") == 1


def proxy_pid(console: Console) -> int:
    """Of the process in its node; 0 while there is none."""
    found = console.sh(CORE, "pgrep", "-o", "-f", "core5g.pfcp.proxy.process").stdout.split()
    return int(found[0]) if found else 0


def session(console: Console) -> str:
    """The tunnels of the UE's session, as the SMF tells them: another session has others."""
    told = console.must(console.sh(CORE, "curl", "-s", "-m", "10", "http://10.255.0.1:9091/pdu-info")).json()
    address = mobile.ue_address(console, UE)
    return next(str(pdu["n3"]) for one in told["items"] for pdu in one["pdu"] if pdu.get("ipv4") == address)


@dataclass(frozen=True, slots=True)
class Restart:
    """What the UE saw while the proxy died and came back. `kept`: its session is the same one, at the same address."""

    asked: Asked
    pids: tuple[int, int]
    back_s: float
    kept: bool
    exit: str
    why: str
    far: int


def proxy_dies(console: Console) -> Restart:
    """SIGKILL; its supervisor starts it again, and it finds its sessions on its disk."""
    pid, before, address = proxy_pid(console), session(console), mobile.ue_address(console, UE)
    with mobile.asking(console, UE) as asked:
        far = mobile.far_flows(console)
        console.fault("kill", CORE, PROXY)
        back_s = console.wait("the proxy is back", lambda: proxy_pid(console) not in (0, pid), 30.0)
        back_s += console.wait("the session is steered", lambda: is_steered(console), 60.0)
        near = mobile.asked_of(console, POP, UE)
        console.wait(
            "the near cache goes on answering", lambda: mobile.asked_of(console, POP, UE) > near + SEVERAL, 20.0
        )
        told = mobile.explained(console, CDN_ADDRESS, UE)
        far = mobile.far_flows(console) - far
    kept = (session(console), mobile.ue_address(console, UE)) == (before, address)
    return Restart(asked, (pid, proxy_pid(console)), back_s, kept, told["exit"], told["why"], far)


def chapter_classified(console: Console, verdicts: Verdicts) -> None:
    """A player of the UE is served by pop1's Traffic Server, by N9; all else leaves at the UPF in the core."""
    console.wait("the session is steered", lambda: is_steered(console), 60.0)
    ue, whose = mobile.ue_address(console, UE), mobile.whose_core(console)
    for destination in (CDN_ADDRESS, STRANGER):
        told = mobile.explained(console, destination, UE)
        verdicts.note(f"nf steer explain {ue} {destination}: {told['exit']}, {told['why']}")
    had, before = mobile.served(console, POP, ue, f"/{CHANNEL}/video/"), mobile.far_flows(console)
    answer, tag = mobile.played(console, UE)
    console.wait("the cache's log of the playlist", lambda: mobile.served(console, POP, ue, tag) > 0, 20.0)
    segments = mobile.served(console, POP, ue, f"/{CHANNEL}/video/") - had
    by_far = mobile.far_flows(console) - before
    well = answer.code == 0 and not answer.text()
    verdicts.add(
        f"ffmpeg plays {CHANNEL} at {UE}, whose session is at {CORE}",
        f"{'six seconds' if well else answer.text()[-300:] or f'exit {answer.code}'}; the Traffic Server of {POP} has "
        f"{segments} new video segments of {ue} in its log, {by_far} connections left by an N6 "
        f"({whose})",
        f"played, from {POP}, none by an N6",
        good=well and segments >= SEGMENTS and by_far == 0,
    )
    packets = mobile.left_by_exit(console, CORE)
    says = [mobile.told_by_stranger(console, name, UE) for name in (STRANGER, STRANGER_NAME)]
    packets = mobile.left_by_exit(console, CORE) - packets
    expected = f"the internet, {STRANGER}; you are {NAT_OF_EXIT}"
    verdicts.add(
        f"other traffic of {UE}: http://{STRANGER}, http://{STRANGER_NAME}",
        f"{'; '.join(dict.fromkeys(says)) or 'no answer'} ({packets} packets left by {EXIT} of {CORE}; {whose})",
        f"answered, by {EXIT} of {CORE}",
        good=says == [expected, expected] and packets > 0,
    )
    restart = proxy_dies(console)
    asked = restart.asked
    verdicts.note(f"nf steer explain {ue} {CDN_ADDRESS}: {restart.exit}, {restart.why}")
    verdicts.add(
        f"the classifier's PFCP proxy at {CORE} is killed (SIGKILL)",
        f"back after {restart.back_s:.1f} s, {'the same session' if restart.kept else 'ANOTHER SESSION'}; longest "
        f"stall {asked.stall_s * 1000:.0f} ms of {asked.answers} answers, {restart.far} connections left by an N6 "
        f"({whose})",
        f"no stall over {STALL_S:.0f} s, steered all the time",
        good=restart.kept and restart.exit == "cache" and asked.stall_s <= STALL_S and restart.far == 0,
    )
