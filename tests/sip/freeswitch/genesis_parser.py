"""The other side of the benchmark `sip.esl`, under the interpreter that has `genesis`: parses a stream when told to.

Prints for each line of standard input, N: the seconds of CPU that N passes over the file took. First: how many messages
are in it and a digest of their headers, so that both sides are seen to have read the same.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from genesis.protocol.reader_fsm import ESLReaderFSM


def parse(data: bytes) -> list[Any]:
    fsm, at = ESLReaderFSM(), 0
    found: list[Any] = []
    while at < len(data):
        end = data.index(b"\n\n", at) + 2
        events, length = fsm.process_headers(data[at:end].decode())
        found += events
        at = end
        if length:
            found += fsm.process_body(data[at : at + length])
            at += length
    return found


def digest(found: list[Any]) -> str:
    """Of what the events say: their own headers, not those of the message around them."""
    outer = ("Content-Type", "Content-Length")
    said = [[sorted((n, v) for n, v in one.items() if n not in outer), one.body or ""] for one in found]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def main() -> None:
    data = Path(sys.argv[1]).read_bytes()
    found = parse(data)
    print(len(found), digest(found), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        for _ in range(int(line)):
            parse(data)
        print(time.process_time() - start, flush=True)


main()
