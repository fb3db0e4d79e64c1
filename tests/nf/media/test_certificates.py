"""Certificates of caches and fronts: which are refused, and when the end of one is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from nf.errors import RefusedError
from nf.media.certificates import EXPIRING_S, Certificate, CertificateWatch, check, prune, read_certificate
from nf.media.documents import EdgeTls
from nf.media.edge.tls import names
from nf.telemetry.alarms import Severity
from tests.nf.media.cdn import HOST, edge_section
from tests.nf.media.pems import pem

SITE_HOST = f"pop1.{HOST}"
REFERENCE = "secret:cdn-tls"
DAY_S = 86_400.0


def test_a_wildcard_stands_for_the_first_label_alone() -> None:
    certificate = Certificate((f"*.{HOST}",), b"", 0.0, 1.0)
    assert certificate.covers(SITE_HOST)
    assert not certificate.covers(HOST)
    assert not certificate.covers(f"a.{SITE_HOST}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no PEM", "not a certificate"),
        (pem(HOST, key=ec.generate_private_key(ec.SECP256R1())), "the key is not that"),
        (pem(HOST, days=-1), "its time is over"),
        (pem("elsewhere.test"), f"no certificate is for {HOST}; there are elsewhere.test"),
    ],
)
def test_what_players_would_not_take_is_refused_without_a_word_of_the_key(text: str, told: str) -> None:
    with pytest.raises(RefusedError, match=told) as caught:
        check([HOST], {REFERENCE: text}, time.time(), "cdn")
    assert "BEGIN" not in str(caught.value)


def test_a_certificate_is_not_good_before_its_time() -> None:
    with pytest.raises(RefusedError, match="its time is not begun"):
        check([HOST], {REFERENCE: pem(HOST)}, time.time() - 61 * DAY_S, "cdn")


def test_every_name_that_an_edge_serves_by_https_needs_one() -> None:
    plain = edge_section("ch1")
    (channel,) = plain.channels
    tls = EdgeTls(certificates=(REFERENCE,))
    section = plain.model_copy(update={"tls": tls, "channels": (channel.model_copy(update={"aliases": (SITE_HOST,)}),)})
    assert names(section) == {HOST, SITE_HOST}
    assert names(plain) == frozenset()
    with pytest.raises(RefusedError, match=f"no certificate is for {SITE_HOST}"):
        check(names(section), {REFERENCE: pem(HOST)}, time.time(), "cdn")
    check(names(section), {REFERENCE: pem(HOST, f"*.{HOST}")}, time.time(), "cdn")
    check(names(section), {REFERENCE: pem(HOST), "secret:sites": pem(SITE_HOST)}, time.time(), "cdn")


def test_keys_that_nothing_names_do_not_stay(tmp_path: Path) -> None:
    for name in ("a.pem", "b.pem", "other"):
        (tmp_path / name).touch()
    prune(tmp_path, {"a.pem"})
    assert {path.name for path in tmp_path.iterdir()} == {"a.pem", "other"}


def test_the_end_of_a_certificate_is_told_once_a_day_and_its_renewal_ends_that(tmp_path: Path) -> None:
    file, watch = tmp_path / "cdn-tls.pem", CertificateWatch("edge-certificate-expiring", "pop1")
    file.write_text(pem(HOST, days=30))
    end = read_certificate(file.read_text(), "").not_after

    def told(left_s: float) -> list[tuple[Severity, str]]:
        return [(event.severity, event.text) for event in watch.take({REFERENCE: file}, end - left_s)]

    assert told(EXPIRING_S) == [(Severity.CLEARED, "")], "what an earlier life raised is cleared"
    assert told(EXPIRING_S) == []
    assert told(EXPIRING_S - 1) == [(Severity.MAJOR, f"{REFERENCE} is over in 6 days")]
    assert told(6.5 * DAY_S) == []
    assert told(DAY_S / 2) == [(Severity.MAJOR, f"{REFERENCE} is over today")]
    assert told(-1) == [(Severity.MAJOR, f"{REFERENCE} is over")]
    file.write_text(pem(HOST, days=90))
    os.utime(file, (1, 1))
    assert told(-1) == [(Severity.CLEARED, "")]


def test_a_certificate_that_is_not_served_any_more_has_no_alarm(tmp_path: Path) -> None:
    file, watch = tmp_path / "cdn-tls.pem", CertificateWatch("front-certificate-expiring", "pop1")
    file.write_text(pem(HOST, days=1))
    (raised,) = watch.take({REFERENCE: file}, time.time())
    assert (raised.severity, raised.object) == (Severity.MAJOR, f"pop1/{REFERENCE}")
    (cleared,) = watch.take({}, time.time())
    assert cleared.severity is Severity.CLEARED
