"""The boot selector: which slot it takes, and that nothing but five variables comes from the disk.

The configuration itself is run here, as a shell script: GRUB's language is close enough that only `set` goes.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.builder import grub
from images.signing.keys import Keys

FLAG = st.sampled_from(["0", "1"])


def choose(environment: dict[str, str], *, tries: int = 1) -> list[str]:
    """The slots that are asked, one after the other when none of them boots."""
    script = re.sub(r"^( *(?:if .*then )?)set (\w+)=", r"\1\2=", grub.CONFIGURATION, flags=re.MULTILINE)
    script = re.sub(r"; then set ", "; then ", script)
    store = "\n".join(f"saved_{name}='{value}'" for name, value in environment.items())
    loaded = "\n".join(f'  if [ "${{saved_{name}+x}}" ]; then {name}=$saved_{name}; fi' for name in environment)
    prelude = f"""
left={tries}
{store}
regexp() {{ disk=hd0; }}
load_env() {{
  test "$*" = '--file (hd0,gpt1)/grub/grubenv ORDER A_OK A_TRY B_OK B_TRY' || exit 9
{loaded}
}}
save_env() {{ saved_A_TRY=$A_TRY; saved_B_TRY=$B_TRY; }}
echo() {{ :; }}
sleep() {{ :; }}
chainloader() {{
  printf '%s %s\\n' "$slot" "$root"
  left=$((left - 1)); [ "$left" -gt 0 ] || exit 0
  return 1
}}
reboot() {{ printf 'reset\\n'; exit 0; }}
"""
    script = script.replace("($esp)", "'('$esp')'").replace('"$cmdpath"', "''").replace("export superusers", "")
    done = subprocess.run(["sh", "-fc", prelude + script], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def asked(environment: dict[str, str], *, tries: int = 1) -> str:
    places = {"A hd0,gpt2": "A", "B hd0,gpt3": "B", "reset": "!"}
    return "".join(places[line] for line in choose(environment, tries=tries))


@pytest.mark.parametrize(
    ("order", "a", "b", "first"),
    [
        ("A B", "10", "10", "A"),  # OK, TRY
        ("B A", "10", "10", "B"),
        ("A B", "11", "10", "B"),  # A was tried and not marked good
        ("B A", "10", "11", "A"),
        ("A B", "00", "10", "B"),  # A was marked bad
        ("A B", "01", "11", "B"),  # the only good one is tried again rather than the bad one
        ("A B", "11", "11", "A"),  # both were tried: from the beginning
        ("B A", "11", "11", "B"),
        ("A B", "00", "00", "A"),  # both marked bad: try, rather than stop
        ("A B", "01", "00", "B"),
        ("A B", "01", "01", "A"),
    ],
)
def test_which_slot_is_asked(order: str, a: str, b: str, first: str) -> None:
    environment = {"ORDER": order, "A_OK": a[0], "A_TRY": a[1], "B_OK": b[0], "B_TRY": b[1]}
    assert asked(environment) == first


def test_without_a_state_it_begins_with_a() -> None:
    assert asked({}) == "A"


def test_when_nothing_boots_it_goes_on_and_then_resets() -> None:
    assert asked({"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "0"}, tries=99) == "BABA!"


@given(order=st.sampled_from(["A B", "B A"]), a=st.tuples(FLAG, FLAG), b=st.tuples(FLAG, FLAG))
def test_two_tries_ask_both_slots_unless_one_is_bad(order: str, a: tuple[str, str], b: tuple[str, str]) -> None:
    environment = {"ORDER": order, "A_OK": a[0], "A_TRY": a[1], "B_OK": b[0], "B_TRY": b[1]}
    made = asked(environment, tries=4)
    if a[0] == b[0]:
        assert {"A", "B"} <= set(made)
    else:
        assert set(made) == {"A" if a[0] == "1" else "B"}


@given(st.text(alphabet="AB01 xyz=-()/$`;", max_size=12), FLAG)
def test_whatever_the_state_says_a_slot_is_asked(order: str, flag: str) -> None:
    assert asked({"ORDER": order, "A_OK": flag, "A_TRY": order, "B_OK": order, "B_TRY": "0"}) in {"A", "B"}


def test_the_configuration_ends_in_no_prompt() -> None:
    last = grub.CONFIGURATION.rstrip().splitlines()[-1]
    assert last == "done"
    assert "reboot" in grub.CONFIGURATION
    assert not {"minicmd", "ls", "cat", "configfile", "linux", "search", "password", "gfxmenu", "net"} & set(
        grub.MODULES
    )
    assert 'superusers="nobody"' in grub.CONFIGURATION


def test_the_state_of_a_new_appliance() -> None:
    block = grub.grubenv()
    assert len(block) == 1024
    assert block.startswith(b"# GRUB Environment Block\nORDER=A B\nA_OK=1\nA_TRY=0\nB_OK=1\nB_TRY=0\n#")


@pytest.mark.daemon
def test_grubs_own_tools_read_both(tmp_path: Path, require_programs: Callable[..., None]) -> None:
    require_programs("grub-editenv", "grub-script-check")
    (tmp_path / "grubenv").write_bytes(grub.grubenv(order="B A", good="B"))
    said = subprocess.run(["grub-editenv", tmp_path / "grubenv", "list"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == ["ORDER=B A", "A_OK=0", "A_TRY=0", "B_OK=1", "B_TRY=0"]
    (tmp_path / "grub.cfg").write_text(grub.CONFIGURATION)
    subprocess.run(["grub-script-check", tmp_path / "grub.cfg"], check=True)


@pytest.mark.daemon
def test_the_program_is_signed_and_the_same_each_time(
    keys: Keys, stranger: Keys, tmp_path: Path, require_programs: Callable[..., None]
) -> None:
    require_programs("grub-mkimage", "osslsigncode", "sbverify")
    grub.make_grub(tmp_path / "1.efi", keys)
    time.sleep(1.1)
    grub.make_grub(tmp_path / "2.efi", keys)
    assert (tmp_path / "1.efi").read_bytes() == (tmp_path / "2.efi").read_bytes()

    def verify(who: Keys) -> int:
        return subprocess.run(
            ["sbverify", "--cert", who.certificate("db"), tmp_path / "1.efi"], capture_output=True, check=False
        ).returncode

    assert verify(keys) == 0
    assert verify(stranger) != 0
