"""Drafts from walks and MIB modules, and the readers of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.devices.learn import learn
from headend.devices.mib import read_mib_texts, read_mibs
from headend.devices.model import Access, Encoding
from headend.devices.modelfile import load_model
from headend.devices.rows import IndexKind
from headend.devices.walkfile import parse_walk
from headend.snmp.values import Syntax
from nf.errors import InputError
from tests.support.snmp import CAPTURED, REPOSITORY

MIB = """
VENDOR-MIB DEFINITIONS ::= BEGIN
IMPORTS enterprises, OBJECT-TYPE FROM SNMPv2-SMI; -- a comment, OBJECT-TYPE ::= in it
vendor OBJECT IDENTIFIER ::= { enterprises 99999 }
modem OBJECT IDENTIFIER ::= { vendor products(1) 7 }
Lock ::= TEXTUAL-CONVENTION STATUS current DESCRIPTION "said -- here" SYNTAX INTEGER { unlocked(1), locked(2) }
modemSerial OBJECT-TYPE SYNTAX DisplayString (SIZE (0..20)) ACCESS read-only STATUS mandatory DESCRIPTION "Serial" ::= { modem 1 }
modemTxLevel OBJECT-TYPE SYNTAX Integer32 (-500..200) UNITS "0.1 dBm" MAX-ACCESS read-write STATUS current
  DESCRIPTION "Level" ::= { modem 2 }
modemSNR OBJECT-TYPE SYNTAX Gauge32 MAX-ACCESS read-only STATUS current
  DESCRIPTION "Signal to noise ratio measured in 0.1 dB units." ::= { modem 3 }
modemLock OBJECT-TYPE SYNTAX Lock MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { modem 4 }
modemOffset OBJECT-TYPE SYNTAX Gauge32 MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { modem 5 }
modemCn OBJECT-TYPE SYNTAX DisplayString MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { modem 6 }
modemPer OBJECT-TYPE SYNTAX DisplayString MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { modem 7 }
modemMac OBJECT-TYPE SYNTAX OCTET STRING MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { modem 8 }
serviceTable OBJECT-TYPE SYNTAX SEQUENCE OF ServiceEntry MAX-ACCESS not-accessible STATUS current DESCRIPTION "x" ::= { modem 9 }
serviceEntry OBJECT-TYPE SYNTAX ServiceEntry MAX-ACCESS not-accessible STATUS current DESCRIPTION "x"
  INDEX { serviceName, IMPLIED serviceOid } ::= { serviceTable 1 }
ServiceEntry ::= SEQUENCE { serviceName DisplayString, serviceOid OBJECT IDENTIFIER, serviceRate Unsigned32 }
serviceName OBJECT-TYPE SYNTAX DisplayString MAX-ACCESS not-accessible STATUS current DESCRIPTION "x" ::= { serviceEntry 1 }
serviceOid OBJECT-TYPE SYNTAX OBJECT IDENTIFIER MAX-ACCESS not-accessible STATUS current DESCRIPTION "x" ::= { serviceEntry 2 }
serviceRate OBJECT-TYPE SYNTAX Unsigned32 MAX-ACCESS read-write STATUS current DESCRIPTION "x" ::= { serviceEntry 3 }
serviceState OBJECT-TYPE SYNTAX INTEGER { off(1), on(2) } MAX-ACCESS read-only STATUS current DESCRIPTION "x" ::= { serviceEntry 4 }
loop1 OBJECT IDENTIFIER ::= { loop2 1 }
loop2 OBJECT IDENTIFIER ::= { loop1 1 }
END
"""  # noqa: E501 - MIB text as vendors write it
WALK = """\
.1.3.6.1.2.1.1.1.0 = STRING: "Vendor Modem 9"
.1.3.6.1.2.1.1.2.0 = OID: .1.3.6.1.4.1.8072.3.2.10
.1.3.6.1.4.1.99999.1.7.1.0 = STRING: "SN 1"
.1.3.6.1.4.1.99999.1.7.3.0 = INTEGER: 135
.1.3.6.1.4.1.99999.1.7.2.0 = INTEGER: -100
.1.3.6.1.4.1.99999.1.7.2.0 = INTEGER: -100
.1.3.6.1.4.1.99999.1.7.4.0 = INTEGER: locked(2)
.1.3.6.1.4.1.99999.1.7.5.0 = Gauge32: 4294965151
.1.3.6.1.4.1.99999.1.7.6.0 = STRING: "10.0"
.1.3.6.1.4.1.99999.1.7.7.0 = STRING: "<1.0E-9"
.1.3.6.1.4.1.99999.1.7.8.0 = Hex-STRING: 00 0E 26 FF BA 38
.1.3.6.1.4.1.99999.1.7.9.1.3.2.99.49.1.3.6 = Gauge32: 1000
.1.3.6.1.4.1.99999.1.7.9.1.4.2.99.49.1.3.6 = INTEGER: 3
.1.3.6.1.4.1.99999.1.7.50.0 = Timeticks: (145) 0:00:01.45
.1.3.6.1.4.1.99999.1.7.51.0 = No Such Instance currently exists at this OID
"""


def test_mib_text_as_vendors_write_it() -> None:
    found = {item.name: item for item in read_mib_texts([MIB]).values()}
    assert found["modemTxLevel"].oid == "1.3.6.1.4.1.99999.1.7.2"
    assert found["modemTxLevel"].bounds == (-500, 200)
    assert found["modemLock"].enum == {"unlocked": 1, "locked": 2}
    assert found["modemSerial"].access == "read-only"
    assert found["serviceRate"].index == (IndexKind.STRING, IndexKind.IMPLIED_OID)
    assert found["serviceRate"].table == "serviceTable"
    assert found["modemLock"].index is None


def test_a_draft_loads_and_says_what_the_walk_shows() -> None:
    text = learn(parse_walk(WALK), read_mib_texts([MIB]), name="vendor-modem")
    model = load_model(text, file="draft.yaml")
    level, snr, offset = (model.parameters[name] for name in ("modem_tx_level", "modem_snr", "modem_offset"))
    assert (level.scale, level.unit, level.access) == (0.1, "dBm", Access.READ_WRITE)
    assert level.range is not None
    assert (level.range.minimum, level.range.maximum) == (-50, 20)
    assert (snr.syntax, snr.scale, snr.unit) == (Syntax.INTEGER, 0.1, "dB")
    assert offset.signed
    assert model.parameters["modem_cn"].encoding is Encoding.DECIMAL_TEXT
    assert model.parameters["modem_per"].encoding is Encoding.RATIO_TEXT
    assert model.parameters["modem_mac"].encoding is Encoding.MAC
    assert set(model.spec.tables) == {"service"}
    assert {"service.rate", "service.state"} <= set(model.parameters)
    for said in (
        "1 objects twice and 1 out of order",
        "1 objects of the walk are in no MIB module, such as 1.3.6.1.4.1.99999.1.7.50.0",
        "sysObjectID is 1.3.6.1.4.1.8072.3.2.10, net-snmp's own: it tells nothing",
        "the MIB says Gauge32, the device sends integer",
        "values above 2^31 were seen",
        "the device says 3, which the MIB does not know",
    ):
        assert said in text


def test_a_walk_without_anything_of_the_mib() -> None:
    with pytest.raises(InputError, match="no object of the walk"):
        learn(parse_walk(".1.3.6.1.2.1.1.1.0 = STRING: x"), read_mib_texts([MIB]), name="x")


def test_a_directory_without_a_mib(tmp_path: object) -> None:
    with pytest.raises(InputError, match="no MIB module"):
        read_mibs(REPOSITORY / "tests" / "data" / "devices")


def test_what_is_no_walk() -> None:
    with pytest.raises(InputError, match="snmpbulkwalk"):
        parse_walk("hello\n")


def test_both_forms_of_walks() -> None:
    printed = parse_walk(
        ".1.3.6.1.4.1.1.1.0 = INTEGER: up(1)\n.1.3.6.1.4.1.1.2.0 = Timeticks: (145) 0:00:01.45\n"
        ".1.3.6.1.4.1.1.3.0 = IpAddress: 10.0.0.1\n.1.3.6.1.4.1.1.4.0 = Hex-STRING: FF 00 \n"
        '.1.3.6.1.4.1.1.5.0 = ""\n.1.3.6.1.4.1.1.6.0 = OID: .1.3.6\n.1.3.6.1.4.1.1.7.0 = Counter64: 9\n'
    )
    recorded = parse_walk(
        "1.3.6.1.4.1.1.1.0|2|1\n1.3.6.1.4.1.1.2.0|67|145\n1.3.6.1.4.1.1.3.0|64x|0a000001\n"
        "1.3.6.1.4.1.1.4.0|4x|ff00\n1.3.6.1.4.1.1.5.0|4|\n1.3.6.1.4.1.1.6.0|6|1.3.6\n1.3.6.1.4.1.1.7.0|70|9\n"
    )
    assert printed.varbinds == recorded.varbinds


@given(st.text(alphabet=st.sampled_from('ABZabz{}()::==;,"|. -\n0123456789OBJECT-TYPE SYNTAX INDEX'), max_size=400))
def test_no_text_whatsoever_breaks_the_readers(text: str) -> None:
    read_mib_texts([text, f"X DEFINITIONS ::= BEGIN {text} END", MIB[: len(text) * 7] + text])
    try:
        parse_walk(text)
    except InputError:
        return


def test_drafts_of_every_captured_walk_load() -> None:
    if not CAPTURED.is_dir():
        pytest.skip(f"no captured walks in {CAPTURED}")
    mibs = read_mibs(CAPTURED.parent / "mibs")
    drafted = 0
    for walk in sorted(CAPTURED.glob("*.snmprec")):
        if walk.stem == "televes-fs":  # its MIB is not among those that we have
            continue
        text = learn(parse_walk(walk.read_text("latin-1")), mibs, name="draft")
        assert load_model(text, file=walk.name).parameters
        drafted += 1
    assert drafted >= 7
