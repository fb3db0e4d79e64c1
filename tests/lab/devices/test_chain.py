"""Encoder, multiplexer, modulator and receivers together: real pictures from end to end, and rain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.contribution import make_programme, stream_command
from lab.devices.control import DeviceFault, Order
from lab.devices.ts import NULL_PID, ContinuityCheck, pid_of
from tests.lab.devices import samples
from tests.lab.devices.conformance import oid
from tests.lab.devices.conftest import LOOPBACK, PROGRAMS, Capture, Running, StartDevice, await_true, devices

pytestmark = pytest.mark.daemon
QPSK_3_4, PSK8_3_5, PSK8_3_4 = 7, 12, 14
LOCKED = 3


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Path:
    require_programs("ffmpeg", "ffprobe", "setpriv")
    return make_programme(0, tmp_path_factory.mktemp("programmes"))


@pytest.fixture
def contribute(programme: Path) -> Iterator[Callable[[int], None]]:
    """`contribute(port)`: the programme comes in there from now on."""
    senders = []

    def begin(port: int) -> None:
        url = f"udp://{LOOPBACK}:{port}?pkt_size=1316"
        senders.append(subprocess.Popen(stream_command(programme, url, name="studio")))

    yield begin
    for sender in senders:
        sender.kill()
        sender.wait()


def errors_by_pid(packets: list[bytes]) -> dict[int, int]:
    checks: dict[int, ContinuityCheck] = defaultdict(ContinuityCheck)
    for packet in packets:
        checks[pid_of(packet)].see(packet)
    return {pid: check.errors for pid, check in checks.items()}


def rate_bps(packets: list[bytes], seconds: float) -> float:
    return len(packets) * 1504 / seconds


def probe(packets: list[bytes], tmp_path: Path) -> dict[int, set[str]]:
    """What ffprobe sees: the codecs of each programme."""
    file = tmp_path / "probe.ts"
    file.write_bytes(b"".join(packets))
    shown = ["-show_entries", "program=program_id:program_stream=codec_name", "-of", "json"]
    done = subprocess.run(["ffprobe", "-v", "quiet", *shown, file], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["programs"]
    return {one["program_id"]: {stream["codec_name"] for stream in one["streams"]} for one in found}


def test_the_encoder_encodes(
    start_device: StartDevice, contribute: Callable[[int], None], capture: Capture, tmp_path: Path
) -> None:
    sample = samples.encoder()
    sample["channels"][0]["output"] = {"address": LOOPBACK, "port": capture.port}
    encoder = start_device("encoder", sample)
    assert encoder.number("AlarmState", 1) == 2
    contribute(sample["channels"][0]["input"]["port"])
    assert await_true(lambda: abs(encoder.number("EncActualBitRate", 1) - 1000) < 30)
    assert encoder.number("EncInputLock", 1) == 2
    assert encoder.subject.value("AlarmText", 1) == "no contribution comes in for Channel 2"
    packets = capture.packets(4.0)
    assert rate_bps(packets, 4.0) == pytest.approx(1_000_000, rel=0.05)
    assert set(errors_by_pid(packets).values()) == {0}
    assert list(probe(packets, tmp_path).values()) == [{"h264", "aac"}]


def test_another_rate_is_a_splice_without_a_gap(
    start_device: StartDevice, contribute: Callable[[int], None], capture: Capture, tmp_path: Path
) -> None:
    sample = samples.encoder(1)
    sample["channels"][0]["output"] = {"address": LOOPBACK, "port": capture.port}
    encoder = start_device("encoder", sample)
    contribute(sample["channels"][0]["input"]["port"])
    assert await_true(lambda: abs(encoder.number("EncActualBitRate", 1) - 1000) < 30)
    capture.drain()
    assert encoder.put("EncBitRate", "u", 600, row=1) == ""
    packets = capture.packets(0.3, fresh=False)
    while encoder.number("EncRestarts", 1) == 0:
        packets += capture.packets(0.3, fresh=False)
    packets += capture.packets(3.0, fresh=False)
    assert await_true(lambda: abs(encoder.number("EncActualBitRate", 1) - 600) < 20)
    assert set(errors_by_pid(packets).values()) == {0}
    assert list(probe(packets, tmp_path).values()) == [{"h264", "aac"}]
    assert encoder.put("EncAdminState", "i", 1, row=1) == ""
    assert await_true(lambda: capture.packets(0.5) == [])


def test_the_multiplex_is_one(
    start_device: StartDevice, contribute: Callable[[int], None], capture: Capture, tmp_path: Path
) -> None:
    """Two contributions of 900 kbit/s at 2 Mbit/s; then 1.2 Mbit/s, where something has to go."""
    sample = samples.mux()
    sample["output"] = {"address": LOOPBACK, "port": capture.port}
    mux = start_device("mux", sample)
    for service in sample["services"]:
        contribute(service["input"]["port"])
    assert await_true(lambda: [mux.number("SvcInputState", row) for row in (1, 2)] == [2, 2])
    packets = capture.packets(5.0)
    assert rate_bps(packets, 5.0) == pytest.approx(2_000_000, rel=0.03)
    assert set(errors_by_pid(packets).values()) == {0}
    assert {pid_of(packet) for packet in packets} == {0, 16, 17, 256, 257, 258, 272, 273, 274, NULL_PID}
    assert probe(packets, tmp_path) == {101: {"h264", "aac"}, 102: {"h264", "aac"}}
    assert mux.number("MuxOverflowPackets") == 0
    assert mux.put("MuxOutputBitRate", "u", 800_000) == ""
    assert await_true(lambda: mux.number("MuxOverflowPackets") > 100)
    assert mux.number("AlarmState", 2) == 2
    assert rate_bps(capture.packets(3.0), 3.0) == pytest.approx(800_000, rel=0.03)


def test_services_keep_apart(start_device: StartDevice) -> None:
    mux = start_device("mux", samples.mux())
    for name, value in (("SvcServiceId", 101), ("SvcPidBase", 260), ("SvcInputPort", mux.number("SvcInputPort", 1))):
        assert mux.put(name, "u", value, row=2) == "inconsistentValue", name
    swapped = ((oid("SvcServiceId", 1), "u", 102), (oid("SvcServiceId", 2), "u", 101))
    assert mux.subject.set(*swapped) == ""
    assert mux.put("SvcAdminState", "i", 1, row=1) == ""
    assert mux.put("SvcServiceId", "u", 102, row=2) == ""
    assert mux.put("SvcAdminState", "i", 2, row=1) == "inconsistentValue"


_COUNTERS = ("ModDroppedPackets", "ModInputPackets"), ("RcvRelockCount", "RcvLostFrames")


@dataclass
class Link:
    """A modulator, two receivers, what comes out of the near one; counters count from the beginning of a test."""

    modem: Running
    near: Running
    far: Running
    input: int
    output: Capture
    zero: dict[tuple[int, str], int] = field(default_factory=dict)

    def counted(self, name: str) -> list[int]:
        return [device.number(name) - self.zero[place, name] for place, device in self._counting(name)]

    def restart_counters(self) -> None:
        names = [name for group in _COUNTERS for name in group]
        self.zero = {(place, name): device.number(name) for name in names for place, device in self._counting(name)}

    def _counting(self, name: str) -> list[tuple[int, Running]]:
        return [(0, self.modem)] if name.startswith("Mod") else [(1, self.near), (2, self.far)]


@pytest.fixture(scope="module")
def lined_up(tmp_path_factory: pytest.TempPathFactory, require_programs: Callable[..., None]) -> Iterator[Link]:
    require_programs(*PROGRAMS)
    output, modem = Capture(), samples.modem()
    near = samples.receiver() | {"sky": modem["sky"], "output": {"address": LOOPBACK, "port": output.port}}
    # This one is tuned to the downlink of a satellite that translates.
    far_sky = modem["sky"] | {"translation_mhz": 2500}
    far = samples.receiver() | {"sky": far_sky, "frequency_mhz": 11_750, "site": "pop2"}
    with devices(tmp_path_factory.mktemp("link")) as start:
        made = start("modem", modem), start("receiver", near), start("receiver", far)
        yield Link(*made, input=modem["input"]["port"], output=output)
    output.close()


@pytest.fixture
def link(lined_up: Link) -> Link:
    """On air at 8PSK 3/4 and nominal level, in clear sky, both receivers locked."""
    modem = lined_up.modem
    for device in (modem, lined_up.near, lined_up.far):
        device.clear_sky()
        for fault in DeviceFault:
            device.control.take_away(fault)
    carrier = [("ModStagedModcod", "i", PSK8_3_4), ("ModStagedPilot", "i", 2), ("ModTxLevel", "i", -100)]
    carrier += [("ModCarrierIdEnable", "i", 2), ("ModCommit", "i", 2), ("ModTxEnable", "i", 1)]
    assert modem.subject.set(*((oid(name), kind, value) for name, kind, value in carrier)) == ""
    assert await_true(lambda: both(lined_up, "RcvLock") == [LOCKED] * 2 and both(lined_up, "RcvEsN0") == [130] * 2)
    assert await_true(lambda: both(lined_up, "RcvModcod") == [PSK8_3_4] * 2)
    lined_up.restart_counters()
    return lined_up


def both(link: Link, name: str) -> list[int]:
    return [link.near.number(name), link.far.number(name)]


def test_a_modulator_is_muted_until_it_is_told(start_device: StartDevice) -> None:
    modem = start_device("modem", samples.modem())
    assert modem.numbers("ModTxEnable", "ModEirp", "ModOutputPackets") == [0, -1000, 0]
    assert modem.put("ModTxEnable", "i", 1) == "inconsistentValue"
    assert modem.put("ModTxLevel", "i", -19) == "wrongValue"
    assert modem.put("ModCommit", "i", 2) == ""
    assert modem.put("ModTxEnable", "i", 1) == ""
    assert await_true(lambda: modem.number("ModOutputPackets") > 0)
    assert modem.number("ModEirp") == 500
    modem.order(Order.REBOOT)
    assert await_true(lambda: modem.uptime() >= 0 and modem.number("ModOutputPackets") == 0)
    assert modem.numbers("ModTxEnable", "ModEirp") == [0, -1000]
    assert modem.put("ModTxEnable", "i", 1) == "", "the carrier was committed once"


def test_a_carrier_is_changed_by_commit(link: Link) -> None:
    modem = link.modem
    assert modem.put("ModStagedModcod", "i", PSK8_3_5) == ""
    assert modem.put("ModStagedPilot", "i", 1) == ""
    assert modem.numbers("ModActiveModcod", "ModPendingChanges", "ModNetBitRate") == [PSK8_3_4, 2, 4_355_050]
    assert modem.put("ModCommit", "i", 3) == ""
    assert modem.numbers("ModStagedModcod", "ModPendingChanges") == [PSK8_3_4, 0]
    assert modem.put("ModStagedModcod", "i", PSK8_3_5) == ""
    assert modem.put("ModCommit", "i", 2) == ""
    assert modem.numbers("ModActiveModcod", "ModPendingChanges", "ModNetBitRate") == [PSK8_3_5, 0, 3_479_138]
    assert await_true(lambda: both(link, "RcvModcod") == [PSK8_3_5] * 2 and both(link, "RcvLock") == [LOCKED] * 2)
    assert link.counted("RcvRelockCount") == [1, 1]
    assert all(500 <= outage < 2000 for outage in both(link, "RcvLastOutage"))


def test_the_carrier_carries_its_net_rate_and_null_packets(link: Link) -> None:
    packets = link.output.packets(3.0)
    assert rate_bps(packets, 3.0) == pytest.approx(4_355_050, rel=0.03)
    assert {pid_of(packet) for packet in packets} == {NULL_PID}
    assert link.counted("ModDroppedPackets") == [0]
    assert link.counted("RcvLostFrames") == [0, 0]
    assert link.near.subject.value("RcvCarrierId").replace(" ", "") == "02004CFFFE710001"
    assert link.modem.put("ModCarrierIdEnable", "i", 1) == ""
    assert await_true(lambda: link.near.subject.value("RcvCarrierId") == "")
    assert link.counted("RcvRelockCount") == [0, 0]


def test_rain_on_the_uplink_is_seen_by_all(link: Link) -> None:
    link.modem.fade(6.0)
    assert await_true(lambda: both(link, "RcvEsN0") == [70, 70])
    assert await_true(lambda: both(link, "RcvLock") == [1, 1])
    assert link.modem.numbers("ModBeaconLevel", "ModBeaconLock") == [-600 - round(60 / 1.48), 2]
    assert await_true(lambda: link.near.subject.value("AlarmText", 7) == "no lock")
    assert link.modem.put("ModTxLevel", "i", -40) == ""
    assert await_true(lambda: both(link, "RcvEsN0") == [130, 130] and both(link, "RcvLock") == [LOCKED] * 2)
    assert link.modem.number("ModEirp") == 560
    link.modem.clear_sky()
    assert await_true(lambda: both(link, "RcvEsN0") == [190, 190])


def test_rain_at_one_site_is_that_site_s(link: Link) -> None:
    link.near.fade(10.0, slope=20.0)
    assert await_true(lambda: link.near.number("RcvLock") == 1)
    assert (link.far.number("RcvLock"), link.far.number("RcvEsN0")) == (LOCKED, 130)
    assert link.modem.number("ModBeaconLevel") == -600
    assert link.output.packets(0.5) == [], "below its threshold nothing comes out"
    link.near.clear_sky()
    assert await_true(lambda: link.near.number("RcvLock") == LOCKED)
    assert link.output.packets(0.5)
    assert link.counted("RcvRelockCount") == [1, 0]


def test_a_lost_beacon_is_said(link: Link) -> None:
    link.modem.disturb(DeviceFault.BEACON_LOST)
    assert link.modem.numbers("ModBeaconLock", "ModBeaconLevel") == [1, -600]
    link.modem.fade(7.4)
    assert link.modem.number("ModBeaconLevel") == -600, "what was last seen"
    link.modem.mend(DeviceFault.BEACON_LOST)
    assert await_true(lambda: link.modem.numbers("ModBeaconLock", "ModBeaconLevel") == [2, -650])


SENDER = """
import socket, sys, time
port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
packet = bytes((0x47, 1, 0, 0x10)) + bytes(184)
sent, began = 0, time.monotonic()
while (now := time.monotonic() - began) < seconds:
    while sent * 1504 < rate * now:
        out.sendto(packet * 7, ("127.0.0.1", port))
        sent += 7
    time.sleep(0.005)
print(sent)
"""


def offer(link: Link, rate: float, seconds: float) -> int:
    """Packets that were sent to the modulator at a constant rate."""
    command = [sys.executable, "-c", SENDER, str(link.input), str(rate), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_does_not_fit_the_carrier_is_dropped_and_counted(link: Link) -> None:
    sent = offer(link, 6_000_000, 4.0)
    assert await_true(lambda: link.counted("ModInputPackets") == [sent])
    (dropped,), longest = link.counted("ModDroppedPackets"), link.modem.number("ModQueueDelayPeak")
    assert dropped == pytest.approx(sent * (1 - 4_355_050 / 6_000_000), rel=0.15)
    assert longest <= 100
    assert link.modem.number("AlarmState", 2) == 2


def test_tshark_counts_what_the_modulator_counts(
    link: Link, require_programs: Callable[..., None], tmp_path: Path
) -> None:
    """Both at its input, and on the air by the sequence numbers of what the receivers miss: nothing."""
    require_programs("tshark")
    shown = tmp_path / "tshark.txt"
    command = ["tshark", "-i", "lo", "-f", f"udp dst port {link.input}", "-T", "fields", "-e", "udp.length", "-l"]
    with shown.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as capturing:
        try:
            assert await_true(lambda: bool(offer(link, 2_000_000, 0.2)) and shown.read_text() != "")
            (before,) = link.counted("ModInputPackets")  # what came before tshark was there is not its business
            offer(link, 4_000_000, 3.0)
            (after,) = link.counted("ModInputPackets")
            wanted = 0.9 * (after - before)
            assert await_true(lambda: sum((int(one) - 8) // 188 for one in shown.read_text().split()) > wanted)
        finally:
            capturing.terminate()
    assert link.counted("ModDroppedPackets") == [0]
    assert link.counted("RcvLostFrames") == [0, 0]


def test_pictures_from_end_to_end(
    start_device: StartDevice, contribute: Callable[[int], None], link: Link, tmp_path: Path
) -> None:
    """An uplink fade that the link survives at a lower MODCOD: no continuity error outside the one relock."""
    encoder, mux = samples.encoder(1), samples.mux(1, rate_bps=2_900_000)
    encoder["channels"][0]["output"] = {"address": LOOPBACK, "port": mux["services"][0]["input"]["port"]}
    mux["output"] = {"address": LOOPBACK, "port": link.input}
    start_device("mux", mux)
    first = start_device("encoder", encoder)
    contribute(encoder["channels"][0]["input"]["port"])
    assert await_true(lambda: abs(first.number("EncActualBitRate", 1) - 1000) < 30)
    before = link.output.packets(4.0)
    assert probe(before, tmp_path) == {101: {"h264", "aac"}}
    assert set(errors_by_pid(before).values()) == {0}
    link.modem.fade(4.0, slope=4.0)
    assert link.modem.put("ModStagedModcod", "i", QPSK_3_4) == ""
    assert link.modem.put("ModCommit", "i", 2) == ""
    assert await_true(lambda: both(link, "RcvModcod") == [QPSK_3_4] * 2 and both(link, "RcvLock") == [LOCKED] * 2)
    after = link.output.packets(3.0)
    assert probe(after, tmp_path) == {101: {"h264", "aac"}}
    assert set(errors_by_pid(after).values()) == {0}
    assert link.counted("RcvRelockCount") == [1, 1]
    assert link.counted("ModDroppedPackets") == [0]
    assert first.number("EncRestarts", 1) == 0
