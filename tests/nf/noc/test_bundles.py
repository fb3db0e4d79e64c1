"""Bundles at the NOC: what is read from them, how they come, who may bring them; versions, waves."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nf.clock import VirtualClock
from nf.documents.fleet import Fleet
from nf.documents.loader import load_fleet
from nf.errors import InputError, IntegrityError, NfError, NotFoundError, RefusedError
from nf.noc.bundle_format import parse_manifest, read_manifest, signature_length
from nf.noc.bundles import KEYRING, Bundles
from nf.noc.upgrade_plan import Action, choose_canary, in_the_way, next_action, plan_waves
from nf.noc.upgrade_records import MemberState
from nf.noc.versions import compare
from tests.support.bundles import bundle, cms, enclose, manifest

# ---- format ----


def test_a_manifest_is_read_from_the_signature() -> None:
    found = read_manifest(cms(manifest("0.2.0-rc1")))
    assert (found.compatible, found.role, found.version) == ("streamverse-nf-pop-amd64", "pop", "0.2.0-rc1")
    assert (found.format, found.images) == ("verity", ("rootfs",))


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (cms(None), "format plain"),
        (cms(manifest(form="plain")), "format 'plain'"),
        (cms(manifest(form="crypt")), "format 'crypt'"),
        (cms(manifest(compatible="other-vendor")), "no appliance of ours"),
        (cms(manifest(compatible="streamverse-nf-toaster-amd64")), "no appliance of ours"),
        (cms(b"\xff\xfe"), "no text"),
        (cms(b"[update]\n"), "names no compatible"),
        (cms(manifest())[:-40], "cut off"),
        (cms(manifest()) + b"x", "follows"),
        (b"", "DER"),
    ],
)
def test_what_is_no_bundle_of_ours_is_refused_with_the_reason(signature: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_manifest(signature)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_input_breaks_the_reader(data: bytes, at: int) -> None:
    good = bytearray(cms(manifest()))
    good[at % len(good)] ^= 1 + len(data) % 255
    for one in (data, bytes(good)):
        try:
            read_manifest(one)
        except InputError:
            continue


@given(st.text(max_size=200))
def test_any_text_is_parsed(text: str) -> None:
    parse_manifest(text)


def test_a_length_that_cannot_be_is_refused() -> None:
    assert signature_length((1000).to_bytes(8, "big"), 5000) == 1000
    for trailer, size in ((b"\0" * 8, 5000), ((6000).to_bytes(8, "big"), 5000), (b"\xff" * 8, 1 << 40), (b"", 9)):
        with pytest.raises(InputError, match="no signature"):
            signature_length(trailer, size)


# ---- versions ----


def test_versions_are_ordered_as_debian_and_semver_order_them() -> None:
    order = [
        "0.1.9",
        "0.2.0~a",
        "0.2.0-alpha",
        "0.2.0-alpha.1",
        "0.2.0-rc2",
        "0.2.0-rc10",
        "0.2.0",
        "0.2.0+1",
        "0.10.0",
    ]
    order = [*order, "1.0"]
    for (a, one), (b, other) in itertools.product(enumerate(order), repeat=2):
        if {one, other} == {"0.2.0~a", "0.2.0-alpha"}:
            continue  # the same sign, and "a" is the beginning of "alpha"
        assert (compare(one, other) > 0) == (a > b), (one, other)


@given(st.text("0123456789ab~+-.", max_size=12), st.text("0123456789ab~+-.", max_size=12))
def test_the_order_is_one(one: str, other: str) -> None:
    sign = compare(one, other)
    assert (sign > 0) == (compare(other, one) < 0)
    assert compare(one, one) == 0


# ---- waves ----


def fleet(
    *places: tuple[str, str], placement: dict[str, list[str]] | None = None, optional: tuple[str, ...] = ()
) -> Fleet:
    spec = {
        "sites": [
            {"id": site, "criticality": "optional" if site in optional else "required"}
            for site in sorted({site for _, site in places})
        ],
        "appliances": [
            {"id": name, "site": site, "role": "pop", "serial": name, "management": f"172.20.20.{number + 1}"}
            for number, (name, site) in enumerate(places)
        ],
        "placement": [{"function": name, "appliances": who} for name, who in (placement or {}).items()],
    }
    text = json.dumps({"apiVersion": "streamverse.nf/v1", "kind": "Fleet", "metadata": {"name": "t"}, "spec": spec})
    return load_fleet(text, file="fleet.yaml").document


def test_the_canary_goes_alone_and_no_wave_takes_away_a_pair() -> None:
    document = fleet(
        ("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c"), ("d1", "d"), placement={"origin": ["b1", "c1"]}
    )
    names = ["a1", "a2", "b1", "c1", "d1"]
    assert plan_waves(document, names, "d1", 4) == (("d1",), ("a1", "b1"), ("a2", "c1"))
    assert plan_waves(document, names, "a1", 1) == (("a1",), ("a2",), ("b1",), ("c1",), ("d1",))
    assert in_the_way(document, "a1", ["a2"]) == "a2 of the same site is away"
    assert in_the_way(document, "c1", ["b1"]) == "nobody else would carry origin"
    assert in_the_way(document, "c1", ["d1"]) == ""


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 5), st.data())
def test_everybody_is_in_one_wave_and_no_two_of_a_site(sites: list[int], size: int, data: st.DataObject) -> None:
    places = [(f"n{number}", f"s{site}") for number, site in enumerate(sites)]
    document = fleet(*places)
    names = [name for name, _ in places]
    canary = data.draw(st.sampled_from(names))
    waves = plan_waves(document, names, canary, size)
    assert waves[0] == (canary,)
    assert sorted(name for wave in waves for name in wave) == sorted(names)
    for wave in waves[1:]:
        assert len(wave) <= size
        assert len({dict(places)[name] for name in wave}) == len(wave)


def test_the_canary_is_one_that_is_there_and_can_be_done_without() -> None:
    document = fleet(("a", "x"), ("b", "y"), ("c", "z"), optional=("y", "z"))
    assert choose_canary(document, ["a", "b", "c"], frozenset({"a", "c"})) == "c"
    assert choose_canary(document, ["a", "b"], frozenset({"a"})) == "a"


def test_what_follows_from_what_an_appliance_says() -> None:
    assert next_action("u.1", False, "", "none") == (Action.ORDER, MemberState.TRANSFER)
    assert next_action("u.1", False, "older.1", "healthy") == (Action.ORDER, MemberState.TRANSFER)
    assert next_action("u.1", True, "u.1", "fetched") == (Action.INSTALL, MemberState.INSTALL)
    assert next_action("u.1", False, "u.1", "installed") == (Action.ACTIVATE, MemberState.INSTALLED)
    assert next_action("u.1", True, "u.1", "giving-up") == (Action.WAIT, MemberState.TRIAL)
    assert next_action("u.1", True, "other.1", "trial") == (Action.END, MemberState.FAILED)


# ---- the store of bundles ----


@pytest.fixture
def bundles(tmp_path: Path) -> Bundles:
    return Bundles(tmp_path, VirtualClock())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def pieces(data: bytes, broken_after: int = 0) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        if broken_after and start >= broken_after:
            raise InputError("the stream broke")
        yield data[start : start + 65_536]


async def test_a_bundle_comes_in_two_attempts_and_is_read_back_from_an_offset(bundles: Bundles) -> None:
    data = bundle()
    name, size = digest(data), len(data)
    assert bundles.offer(name, size) == (0, None)
    with pytest.raises(InputError, match="broke"):
        await bundles.take(name, size, 0, pieces(data, 200_000))
    offset, _ = bundles.offer(name, size)
    assert 0 < offset < size
    with pytest.raises(InputError, match="octets of it are here"):
        await bundles.take(name, size, 0, pieces(data))
    record = await bundles.take(name, size, offset, pieces(data[offset:]))
    assert (record.role, record.version, record.signer) == ("pop", "0.2.0", "")
    assert bundles.offer(name, size) == (size, record)
    assert bundles.get(name[:8]) == record
    assert b"".join([piece async for piece in bundles.read(name, 1000)]) == data[1000:]
    bundles.remove(record)
    with pytest.raises(NotFoundError):
        bundles.get(name)


async def test_what_is_not_what_it_should_be_is_not_kept(bundles: Bundles) -> None:
    data = bundle()
    wrong = "0" * 64
    with pytest.raises(IntegrityError):
        await bundles.take(wrong, len(data), 0, pieces(data))
    assert bundles.offer(wrong, len(data)) == (0, None)
    plain = enclose(cms(None))
    with pytest.raises(InputError, match="format plain"):
        await bundles.take(digest(plain), len(plain), 0, pieces(plain))
    assert bundles.offer(digest(plain), len(plain)) == (0, None)
    with pytest.raises(InputError, match="larger than"):
        bundles.offer(wrong, 1 << 50)
    with pytest.raises(InputError):
        bundles.offer("../../etc", 100)


async def test_with_a_keyring_only_its_signers_are_taken(
    bundles: Bundles, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("openssl")
    text = tmp_path / "manifest"
    text.write_bytes(manifest())

    def signed(name: str) -> bytes:
        key, certificate, out = (tmp_path / f"{name}.{end}" for end in ("key", "crt", "cms"))
        for arguments in (
            ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key),
             "-out", str(certificate), "-subj", f"/CN={name}", "-days", "2"),
            ("cms", "-sign", "-nodetach", "-binary", "-in", str(text), "-signer", str(certificate), "-inkey", str(key),
             "-outform", "DER", "-out", str(out)),
        ):  # fmt: skip
            subprocess.run(("openssl", *arguments), check=True, capture_output=True)
        return enclose(out.read_bytes())

    ours, theirs = signed("ours"), signed("theirs")
    (tmp_path / KEYRING).write_bytes((tmp_path / "ours.crt").read_bytes())
    record = await bundles.take(digest(ours), len(ours), 0, pieces(ours))
    assert "ours" in record.signer
    with pytest.raises(RefusedError, match="not signed by whom the NOC trusts"):
        await bundles.take(digest(theirs), len(theirs), 0, pieces(theirs))
    unsigned = bundle()
    with pytest.raises(NfError, match="not signed"):
        await bundles.take(digest(unsigned), len(unsigned), 0, pieces(unsigned))
