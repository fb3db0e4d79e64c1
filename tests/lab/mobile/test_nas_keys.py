"""Keys and algorithms of 5G AKA and NAS security, against published vectors and against the network's own half."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mobile import amf_security, nas_keys
from lab.mobile.amf_security import Link, Subscription
from lab.mobile.milenage import Milenage, opc_of
from lab.mobile.nas_security import (
    HeaderType,
    NasSecurity,
    NasSecurityError,
    Protected,
    nea2,
    nia2,
)
from lab.mobile.usim import MacError, SyncError, Usim

_h = bytes.fromhex

# TS 35.208 clause 4.3, test sets 1 and 2: K, RAND, SQN, AMF, OP; OPc, f1, f1*, f2, f5, f3, f4, f5*.
SETS = [
    (
        (
            "465b5ce8b199b49faa5f0a2ee238a6bc 23553cbe9637a89d218ae64dae47bf35 ff9bb4d0b607 b9b9 "
            "cdc202d5123e20f62b6d676ac72cb318"
        ),
        (
            "cd63cb71954a9f4e48a5994e37a02baf 4a9ffac354dfafb3 01cfaf9ec4e871e9 a54211d5e3ba50bf aa689c648370 "
            "b40ba9a3c58b2a05bbf0d987b21bf8cb f769bcd751044604127672711c6d3441 451e8beca43b"
        ),
    ),
    (
        (
            "0396eb317b6d1c36f19c1c84cd6ffd16 c00d603103dcee52c4478119494202e8 fd8eef40df7d af17 "
            "ff53bade17df5d4e793073ce9d7579fa"
        ),
        (
            "53c15671c60a4b731c55b4a441c0bde2 5df5b31807e258b0 a8c016e51ef4a343 d3a628ed988620f0 c47783995f72 "
            "58c433ff7a7082acd424220f2b67c556 21a8c1f929702adb3e738488b9f5c5da 30f1197061c1"
        ),
    ),
]
NETWORK = b"5G:mnc070.mcc999.3gppnetwork.org"
K, OPC = _h("465b5ce8b199b49faa5f0a2ee238a6bc"), _h("cd63cb71954a9f4e48a5994e37a02baf")
octets16 = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(("given_", "expected"), SETS)
def test_milenage_of_ts_35_208(given_: str, expected: str) -> None:
    k, rand, sqn, amf, op = map(_h, given_.split())
    opc = opc_of(k, op)
    milenage = Milenage(k, opc)
    res, ak = milenage.res_ak(rand)
    found = (opc, *milenage.macs(rand, sqn, amf), res, ak, milenage.ck(rand), milenage.ik(rand))
    assert [part.hex() for part in (*found, milenage.ak_resync(rand))] == expected.split()


def test_keys_of_another_implementation_from_k_ausf_to_k_gnb() -> None:
    """PLMN 001-01, IMSI 001010123456789: a chain that was published with CK, IK, SQN and AK made up."""
    network = nas_keys.serving_network("001", "01")
    assert network == b"5G:mnc001.mcc001.3gppnetwork.org"
    ck, ik = _h("0102030405060708090a0b0c0d0e0f00"), _h("02030405060708090a0b0c0d0e0f0001")
    ausf = nas_keys.k_ausf(ck, ik, network, _h("0304050607f7"))
    assert ausf.hex() == "20de4eb2b75c8dac301ad52773e2e37bd7b4b0c2fdb1c3751b98dd0df846aed5"
    seaf = nas_keys.k_seaf(ausf, network)
    assert seaf.hex() == "d2bbc63b0c141247341c0fca3dc3bffdc6bfc1813489342de8487e7e4dc3728b"
    amf = nas_keys.k_amf(seaf, "imsi-001010123456789", bytes(2))
    assert amf.hex() == "7e9f97707cef48318df182a7f9e7ba838a6fb36ab83a7d1baf2610b97a5b9dcf"
    assert nas_keys.k_gnb(amf, 0).hex() == "617c2f3db714a5a10597591a25feb21a159ea7796109292b0b2ca579d9002b0c"


def test_res_star_of_another_implementation() -> None:
    """PLMN 001-01, K and RAND 0011..ff, OPc 62e7..."""
    k = _h("00112233445566778899aabbccddeeff")
    milenage = Milenage(k, _h("62e75b8d6fa5bf46ec87a9276f9df54d"))
    network = nas_keys.serving_network("001", "01")
    found = nas_keys.res_star(milenage.ck(k), milenage.ik(k), network, k, milenage.res_ak(k)[0])
    assert found.hex() == "31b6d938a5290ccc65bc829f9820a8d9"


def test_128_eia2_and_128_eea2_of_ts_33_401_annex_c() -> None:
    key, count = _h("d3c5d592327fb11c4035c6680af8c6d1"), 0x398A59B4
    assert nia2(key, count, 0x1A, 1, _h("484583d5afe082ae")).hex() == "b93787e6"
    plain = _h("981ba6824c1bfb1ab485472029b71d808ce33e2cc3c0b5fc1f3de8a6dc66b1f0")
    ciphered = nea2(key, count, 0x15, 1, plain)
    # The vector has 253 bits.
    assert ciphered[:31].hex() == "e9fed8a63d155304d71df20bf3e82214b20ed7dad2f233dc3c22d7bdeeed8e"
    assert ciphered[31] >> 3 == 0x78 >> 3


def test_cmac_of_rfc_4493() -> None:
    key = _h("2b7e151628aed2a6abf7158809cf4f3c")
    message = _h("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411")
    assert amf_security.cmac(key, b"").hex() == "bb1d6929e95937287fa37d129b756746"
    assert amf_security.cmac(key, message[:16]).hex() == "070a16b46b4d4144f79bdd9dd04a287c"
    assert amf_security.cmac(key, message).hex() == "dfa66747de9ae63030ca32611497c827"


@given(octets16, octets16, st.integers(0, (1 << 43) - 64))
def test_a_challenge_of_the_network_is_answered_as_it_expects(k: bytes, opc: bytes, sqn: int) -> None:
    home = Subscription(k, int.from_bytes(opc), sqn)
    usim = Usim("999700000000001", k, opc)
    usim.start_at(sqn)
    challenge = home.challenge(NETWORK)
    answer = usim.answer(challenge.rand, challenge.autn)
    res = nas_keys.res_star(answer.ck, answer.ik, NETWORK, challenge.rand, answer.res)
    ausf = nas_keys.k_ausf(answer.ck, answer.ik, NETWORK, answer.sqn_xor_ak)
    assert (res, nas_keys.k_seaf(ausf, NETWORK)) == (challenge.expected, challenge.k_seaf)


def test_the_same_challenge_twice_is_out_of_sync_and_the_auts_sets_the_network_right() -> None:
    home, usim = Subscription(K, int.from_bytes(OPC), 64), Usim("999700000000001", K, OPC)
    usim.start_at(1 << 20)
    challenge = home.challenge(NETWORK)
    with pytest.raises(SyncError) as caught:
        usim.answer(challenge.rand, challenge.autn)
    forged = bytes(6) + caught.value.auts[6:]
    assert not home.resynchronise(challenge.rand, forged)
    assert home.resynchronise(challenge.rand, caught.value.auts)
    assert home.sqn == 1 << 20
    again = home.challenge(NETWORK)
    assert usim.answer(again.rand, again.autn).res
    with pytest.raises(SyncError):
        usim.answer(again.rand, again.autn)


@given(st.integers(0, 127))
def test_a_challenge_with_one_wrong_bit_is_of_somebody_else(bit: int) -> None:
    home, usim = Subscription(K, int.from_bytes(OPC)), Usim("999700000000001", K, OPC)
    challenge = home.challenge(NETWORK)
    wrong = (int.from_bytes(challenge.autn) ^ 1 << bit).to_bytes(16)
    with pytest.raises(MacError):
        usim.answer(challenge.rand, wrong)


messages = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=80)), min_size=1, max_size=8)


@given(octets16, st.sampled_from([0, 2]), messages, st.integers(0, 600))
def test_both_halves_open_what_the_other_seals(
    k_amf: bytes, ciphering: int, sent: list[tuple[int, bytes]], before: int
) -> None:
    """Whatever was lost before, up to what eight bits of a count can tell."""
    ue = NasSecurity(ciphering, *nas_keys.nas_keys(k_amf, ciphering, 2), uplink=before, downlink=before - 1)
    network = Link(k_amf, ciphering, down=before + before % 200, up=before)
    for kind, message in sent:
        assert network.unseal(ue.protect(message, HeaderType(kind))) == message
        sealed = Protected.parse(network.seal(message, kind))
        assert ue.open(sealed) == message
        with pytest.raises(NasSecurityError):
            ue.open(sealed)
    whole = ue.protect(b"x")
    assert network.unseal(whole[:-1] + bytes((whole[-1] ^ 1,))) is None


@given(st.binary(max_size=40))
def test_octets_are_protected_or_not(data: bytes) -> None:
    try:
        assert Protected.parse(data).encode() == data
    except NasSecurityError:
        return
