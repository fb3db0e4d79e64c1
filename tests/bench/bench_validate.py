"""10,000 values of a line-up and its fleet, from text to checked documents: ours and libyang's.

Both begin with text and judge types, forms, ranges, unknown keys, uniqueness and references. Ours is YAML, as people
write it, and ends in typed models with the line and column of every value. libyang, in C, reads the same tree as JSON,
the quickest of its formats, against documents.yang, and ends in its own tree.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from nf.documents import tree
from nf.documents.loader import load_fleet, load_lineup
from nf.errors import DocumentError
from nf.planning.checks import check_fleet, check_lineup
from tests.bench.harness import Benchmark
from tests.bench.libyang import LibYang
from tests.nf.planning.samples import DOCUMENTS

MODULE = Path(__file__).with_name("documents.yang")
CHANNELS = 320
VALUES = 10_000

HEAD = """\
apiVersion: streamverse.nf/v1
kind: LineUp
metadata:
  name: bench
spec:
  policy:
    deadline: 10m
    reconcile: 10s
"""
SOURCE = "    - {{id: studio-ch{n}{kind}, appliance: headend, port: {port}, bitrate: 1M}}\n"
CHANNEL = """\
    - id: ch{n}
      name: Channel {n}
      lcn: {lcn}
      uid: "tag:streamverse.test,2026:ch{n}"
      source: studio-ch{n}
      delivery:
        - {{id: iptv, type: ssm, group: 232.10.{high}.{low}, port: 5000, rate: 1M, sites: [pop1, pop2]}}
        - id: ott
          type: cdn
          host: cdn.streamverse.test
          source: studio-ch{n}-ott
          rate: 1M
          sites: [pop1, pop2]
          segment: 2s
          window: 20s
          origin: {{endpoint: "http://10.1.0.20:8333", bucket: media, credentials: "secret:origin-writer"}}
"""


def lineup_text(channels: int = CHANNELS) -> str:
    """The line-up of the lab with more channels."""
    kinds = (("", 6000), ("-ott", 20_000))
    sources = [SOURCE.format(n=n, kind=kind, port=base + n) for n in range(channels) for kind, base in kinds]
    listed = [CHANNEL.format(n=n, lcn=n + 1, high=1 + n // 250, low=1 + n % 250) for n in range(channels)]
    return "".join([HEAD, "  sources:\n", *sources, "  channels:\n", *listed])


def ours(lineup: str, fleet: str) -> None:
    """Raises DocumentError."""
    judged = load_lineup(lineup, file="lineup.yaml").document
    known = load_fleet(fleet, file="fleet.yaml").document
    problems = [*check_lineup(judged, known), *check_fleet(known)]
    if problems:
        raise DocumentError(problems)


def _spec(text: str) -> Any:
    root, _ = tree.parse(text)
    return root.data()["spec"]


def _values(data: Any) -> int:
    if isinstance(data, dict | list):
        return sum(_values(item) for item in (data.values() if isinstance(data, dict) else data))
    return 1


def _cpu_s(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def _expect_a_judge(peer: LibYang, data: dict[str, Any]) -> None:
    """Each kind of mistake is found: what does not judge is no peer."""
    mistakes: list[tuple[str, object]] = [
        ("lcn", 0),
        ("lcn", 2),
        ("source", "nowhere"),
        ("uid", "no tag"),
        ("name", ""),
        ("unknown", "key"),
    ]
    for key, value in mistakes:
        wrong = deepcopy(data)
        wrong["nf-bench:lineup"]["channels"][0][key] = value
        if peer.accepts(json.dumps(wrong).encode()):
            raise RuntimeError(f"libyang takes {key}: {value!r}")


def ratio() -> float:
    """CPU seconds, ours over libyang's; the shortest of five interleaved runs each."""
    peer = LibYang(MODULE)
    lineup, fleet = lineup_text(), (DOCUMENTS / "fleet.yaml").read_text()
    data = {"nf-bench:lineup": _spec(lineup), "nf-bench:fleet": _spec(fleet)}
    if _values(data) < VALUES:
        raise RuntimeError(f"{_values(data)} values, not {VALUES}")
    _expect_a_judge(peer, data)
    text = json.dumps(data).encode()
    if not peer.accepts(text):
        raise RuntimeError("libyang refuses what we take")
    pairs = [(_cpu_s(lambda: ours(lineup, fleet)), _cpu_s(lambda: peer.accepts(text))) for _ in range(5)]
    return min(pair[0] for pair in pairs) / min(pair[1] for pair in pairs)


BENCHMARKS = [
    Benchmark("documents.validate", peer="libyang 2 (C) on the same 10,000 values", sense="<=", target=5.0, run=ratio),
]
