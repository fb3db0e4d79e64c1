"""One CC with a G.711 packet of 20 ms: our template against pycrate's coder, and against plain struct packing.

All three write the same octets. Struct packing is what one writes by hand for PDUs of this very shape: every length and
width is worked out for each packet, and nothing is kept from one to the next.
"""

from __future__ import annotations

import importlib.util
import struct
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pycrate_asn1c.asnproc import PycrateGenerator, compile_text, generate_modules

from lawful_intercept.handover.ps_pdu import CcTemplate, Header
from tests.bench.harness import Benchmark

ROUNDS = 20
AT_NS = 1_700_000_000_123_456_000
HEADER = Header(b"LIID-0001", "NZ", b"svnf", b"pop1", "NZ", version=40)
RTP = struct.pack("!BBHII", 0x80, 8, 4711, 160_000, 0xDEADBEEF) + bytes(160)
MODULE = Path(__file__).parents[1] / "lawful_intercept" / "ps_pdu.asn"


@cache
def _type() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ps_pdu_module.py"
        compile_text(MODULE.read_text())
        generate_modules(PycrateGenerator, str(path))
        spec = importlib.util.spec_from_file_location("ps_pdu_module", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.Handover.PS_PDU


def _pycrates(sequence: int, at_ns: int, direction: str, octets: bytes) -> bytes:
    seconds, microseconds = divmod(at_ns // 1000, 1_000_000)
    made = _type()
    made.set_val(
        {
            "pSHeader": {
                "li-psDomainId": (0, 4, 0, 2, 2, 5, 1, 40),
                "lawfulInterceptionIdentifier": b"LIID-0001",
                "authorizationCountryCode": "NZ",
                "communicationIdentifier": {
                    "networkIdentifier": {"operatorIdentifier": b"svnf", "networkElementIdentifier": b"pop1"},
                    "communicationIdentityNumber": 7,
                    "deliveryCountryCode": "NZ",
                },
                "sequenceNumber": sequence,
                "microSecondTimeStamp": {"seconds": seconds, "microSeconds": microseconds},
                "timeStampQualifier": "timeOfInterception",
            },
            "payload": (
                "cCPayloadSequence",
                [
                    {
                        "payloadDirection": direction,
                        "cCContents": (
                            "iPMMCC",
                            {
                                "iPMMCCObjId": (5, 5, 17, 2),
                                "mMCCContents": octets,
                                "frameType": "rtpFrame",
                                "mMCCprotocol": "rTP",
                            },
                        ),
                    }
                ],
            ),
        }
    )
    return bytes(made.to_der())


_BEFORE = bytes.fromhex(
    "80070400020205012881094c4949442d3030303182024e5aa315a00c800473766e668104706f703181010782024e5a"
)


def _integer(tag: int, value: int) -> bytes:
    width = value.bit_length() // 8 + 1
    return struct.pack(f"!BB{width}s", tag, width, value.to_bytes(width, "big"))


def _value(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return struct.pack(f"!BB{size}s", tag, size, contents)
    if size < 0x100:
        return struct.pack(f"!BBB{size}s", tag, 0x81, size, contents)
    return struct.pack(f"!BBH{size}s", tag, 0x82, size, contents)


def _structs(sequence: int, at_ns: int, direction: int, octets: bytes) -> bytes:
    seconds, microseconds = divmod(at_ns // 1000, 1_000_000)
    times = _value(0xA7, _integer(0x80, seconds) + _integer(0x81, microseconds))
    header = _value(0xA1, _BEFORE + _integer(0x84, sequence) + times + b"\x88\x01\x01")
    media = _value(0xAC, b"\x80\x04\x05\x05\x11\x02" + _value(0x81, octets) + b"\x82\x01\x02\x84\x01\x00")
    cc = _value(0x30, struct.pack("!BBB", 0x80, 1, direction) + _value(0xA2, media))
    return _value(0x30, header + _value(0xA2, _value(0xA1, cc)))


def _seconds(encode: Callable[..., bytes], direction: object, times: int) -> float:
    """Of one PDU; number and time change from each to the next."""
    start = time.perf_counter()
    for number in range(times):
        encode(number, AT_NS + number * 20_000_000, direction, RTP)
    return (time.perf_counter() - start) / times


def ps_pdu() -> float:
    template = CcTemplate(HEADER, 7)
    for sequence in (0, 127, 128, 4_294_967_295):
        wanted = _pycrates(sequence, AT_NS, "toTarget", RTP)
        assert template.encode(sequence, AT_NS, 1, RTP) == _structs(sequence, AT_NS, 1, RTP) == wanted
    ours = struct_s = pycrate_s = 0.0
    for _ in range(ROUNDS):
        ours += _seconds(template.encode, 1, 4000) / ROUNDS
        struct_s += _seconds(_structs, 1, 1000) / ROUNDS
        pycrate_s += _seconds(_pycrates, "toTarget", 20) / ROUNDS
    print(
        f"li.ps_pdu: template {ours * 1e6:.2f} us, struct packing {struct_s * 1e6:.2f} us ({struct_s / ours:.1f}x), "
        f"pycrate {pycrate_s * 1e6:.0f} us ({pycrate_s / ours:.0f}x)",
        flush=True,
    )
    return pycrate_s / ours


BENCHMARKS = [
    Benchmark("li.ps_pdu", peer="pycrate, the same CC with a G.711 packet", sense=">=", target=300, run=ps_pdu),
]
