"""The event socket's parser against `genesis`: the same stream of plain events, decoded whole by both."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from sip.freeswitch.codec import Decoder, Event
from tests.bench.harness import Benchmark
from tests.sip.freeswitch import other_client
from tests.sip.freeswitch.events import stream

ROUNDS, PASSES, EVENTS, PIECE = 12, 4, 400, 16_384


def _ours(data: bytes) -> list[Event]:
    """As a socket gives it: in pieces."""
    decoder = Decoder()
    found: list[Event] = []
    for at in range(0, len(data), PIECE):
        found += (one for one in decoder.receive(data[at : at + PIECE]) if isinstance(one, Event))
    return found


def _digest(found: Iterable[Event]) -> str:
    outer = ("Content-Type", "Content-Length")
    said = [[sorted((n, v) for n, v in one.headers.items() if n not in outer), one.body] for one in found]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def esl() -> float:
    data = stream(EVENTS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events"
        file.write_bytes(data)
        command = [other_client.python(), str(Path(other_client.__file__).with_name("genesis_parser.py")), str(file)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""}
        ) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None
            found = _ours(data)
            assert peer.stdout.readline().split() == [str(len(found)), _digest(found)]
            each: list[tuple[float, float]] = []
            for _ in range(ROUNDS):
                start = time.process_time()
                for _ in range(PASSES):
                    _ours(data)
                ours = time.process_time() - start
                print(PASSES, file=peer.stdin, flush=True)
                each.append((ours, float(peer.stdout.readline())))
            peer.stdin.close()
    size = len(data) * PASSES / 1e6
    ratios = sorted(one_theirs / one for one, one_theirs in each)
    median, median_theirs = (statistics.median(column) for column in zip(*each, strict=True))
    print(
        f"sip.esl: ours {size / median:.1f} MB/s, genesis {size / median_theirs:.1f} MB/s;"
        f" ratio {statistics.median(ratios):.2f}, of {ROUNDS} rounds all but the two outermost {ratios[1]:.2f} to"
        f" {ratios[-2]:.2f}",
        flush=True,
    )
    return statistics.median(ratios)


BENCHMARKS = [Benchmark("sip.esl", peer="genesis' parser, plain events, MB/s", sense=">=", target=3.0, run=esl)]
