"""Keys by reference, from a file and from a token; keys of stores, wrapped; what is shown of them: nothing."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lawful_intercept.keys import SecretKey, keeper, new_key, read_key, rewrap, store_key, write_key
from lawful_intercept.pki import app
from nf.errors import DeniedError, InputError, IntegrityError, NfError, NotFoundError, RefusedError, UnavailableError

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0" * 2


def octets(key: SecretKey) -> bytes:
    with key.opened() as view:
        return bytes(view)


def written(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
def reference(tmp_path: Path) -> str:
    write_key(tmp_path / "own")
    return f"file:{tmp_path / 'own'}"


def test_a_file_holds_a_key_and_nothing_shows_it(tmp_path: Path) -> None:
    path = written(tmp_path / "k", f"{KEY}\n")
    key = read_key(f"file:{path}")
    assert octets(key) == bytes.fromhex(KEY)
    assert KEY not in f"{key!r}{key}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with key:
        pass
    with pytest.raises(NfError), key.opened():
        pass


def test_a_payload_key_may_have_another_length(tmp_path: Path) -> None:
    path = written(tmp_path / "k", "0b" * 24)
    assert len(read_key(f"file:{path}", frozenset({24, 32}))) == 24
    with pytest.raises(IntegrityError):
        read_key(f"file:{path}")


@pytest.mark.parametrize("text", ["", "zz", KEY[:-1], KEY + "00", "[1]", "\x00"])
def test_what_is_no_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(IntegrityError) as refused:
        read_key(f"file:{written(tmp_path / 'k', text)}")
    assert KEY[:16] not in str(refused.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "k", KEY)
    path.chmod(0o640)
    with pytest.raises(IntegrityError):
        read_key(f"file:{path}")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("file:/nonexistent/key", NotFoundError),
        ("secret:key", InputError),
        ("pkcs11:token=nf", InputError),
        ("pkcs11:object=x?module-path=/x.so&pin-source=secret:x", InputError),
        ("pkcs11:object=x?module-path=/nonexistent.so", UnavailableError),
    ],
)
def test_a_key_that_cannot_be_had_says_why(name: str, error: type[NfError]) -> None:
    with pytest.raises(error):
        read_key(name)


def test_a_key_file_is_made_once(tmp_path: Path) -> None:
    write_key(tmp_path / "k")
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    with pytest.raises(RefusedError):
        write_key(tmp_path / "k")


def test_a_store_has_the_same_key_every_time_and_no_other_store_has_it(tmp_path: Path, reference: str) -> None:
    first, again, other = (store_key(reference, tmp_path, name) for name in ("store", "store", "other"))
    assert octets(first) == octets(again) != octets(other)
    assert octets(first) not in (tmp_path / "store.key").read_bytes()
    (tmp_path / "store.key").write_bytes((tmp_path / "other.key").read_bytes())
    with pytest.raises(IntegrityError, match="does not open"):
        store_key(reference, tmp_path)


def test_another_wrapping_key_leaves_the_store_as_it_is(tmp_path: Path, reference: str) -> None:
    before = octets(store_key(reference, tmp_path))
    write_key(tmp_path / "next")
    following = f"file:{tmp_path / 'next'}"
    rewrap(reference, following, tmp_path)
    assert octets(store_key(following, tmp_path)) == before
    with pytest.raises(IntegrityError):
        store_key(reference, tmp_path)


def test_commands_make_a_key_and_take_another(tmp_path: Path) -> None:
    run, state = CliRunner(), tmp_path / "state"
    references = []
    for name in ("one", "two"):
        made = run.invoke(app, ["key", str(tmp_path / name)])
        assert made.exit_code == 0
        references.append(made.output.strip())
    before = [octets(store_key(references[0], state, name)) for name in ("store", "audit")]
    words = ["rewrap", str(state), "--before", references[0], "--after", references[1]]
    told = run.invoke(app, words)
    assert told.output.split() == ["audit.key", "store.key"]
    assert [octets(store_key(references[1], state, name)) for name in ("store", "audit")] == before
    assert isinstance(run.invoke(app, words).exception, IntegrityError)
    words[1] = str(tmp_path)
    assert isinstance(run.invoke(app, words).exception, NotFoundError)


@given(damage=st.binary(max_size=100))
def test_what_is_no_wrapped_key_is_refused(damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_key(Path(folder) / "own")
        own = keeper(f"file:{folder}/own")
        for wrapped in (damage, b"LIK1" + damage.ljust(60, b"\0")[:60]):
            with pytest.raises(IntegrityError):
                own.unwrap(wrapped, b"store")


@pytest.mark.daemon
def test_a_token_keeps_the_key_that_wraps(
    tmp_path: Path, require_programs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SoftHSM; `closed` never leaves it."""
    require_programs("softhsm2-util")
    import pkcs11

    # A loaded module keeps its first configuration for as long as the process lives.
    directory = Path(tempfile.mkdtemp())
    (directory / "tokens").mkdir()
    (directory / "softhsm2.conf").write_text(f"directories.tokendir = {directory}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
    made = ["softhsm2-util", "--init-token", "--free", "--label", "li", "--so-pin", "1234", "--pin", "4321"]
    subprocess.run(made, check=True, capture_output=True)
    library = pkcs11.lib(str(MODULE))
    with contextlib.suppress(pkcs11.PKCS11Error):
        library.reinitialize()
    with library.get_token(token_label="li").open(user_pin="4321", rw=True) as session:
        for label, extractable in (("open", True), ("closed", False)):
            session.create_object(
                {
                    pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                    pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
                    pkcs11.Attribute.VALUE: bytes.fromhex(KEY),
                    pkcs11.Attribute.LABEL: label,
                    pkcs11.Attribute.TOKEN: True,
                    pkcs11.Attribute.ENCRYPT: True,
                    pkcs11.Attribute.DECRYPT: True,
                    pkcs11.Attribute.SENSITIVE: not extractable,
                    pkcs11.Attribute.EXTRACTABLE: extractable,
                }
            )
    written(tmp_path / "pin", "4321\n")
    written(tmp_path / "wrong", "9999\n")

    def named(label: str, pin: str = "pin") -> str:
        return f"pkcs11:object={label};token=li?module-path={MODULE}&pin-source=file:{tmp_path / pin}"

    assert octets(read_key(named("open"))) == bytes.fromhex(KEY)
    for refused, error in (
        (named("closed"), DeniedError),
        (named("open", "wrong"), DeniedError),
        (named("absent"), NotFoundError),
    ):
        with pytest.raises(error) as told:
            read_key(refused)
        assert "4321" not in str(told.value)
        assert "9999" not in str(told.value)
    state = tmp_path / "state"
    first = octets(store_key(named("closed"), state))
    assert octets(store_key(named("closed"), state)) == first
    damaged = bytearray((state / "store.key").read_bytes())
    damaged[-1] ^= 1
    with pytest.raises(IntegrityError):
        keeper(named("closed")).unwrap(bytes(damaged), b"store")
    # What the token wrapped is AES-256-GCM as everybody has it: the same key in a file opens it.
    written(tmp_path / "same", KEY)
    assert octets(keeper(f"file:{tmp_path / 'same'}").unwrap((state / "store.key").read_bytes(), b"store")) == first
    with new_key() as fresh:
        assert octets(keeper(named("closed")).unwrap(keeper(named("closed")).wrap(fresh, b"x"), b"x")) == octets(fresh)
