"""Recipes: the shipped ones are sound and agree on accounts; what is wrong in one is told with its line."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from core5g.documents import FUNCTIONS
from core5g.observation.units import CALLER, USER
from images.recipe import KERNEL_FLAVOURS, PRODUCT, load_recipe, roles
from nf.errors import DocumentError, NotFoundError

BASE = """\
apiVersion: streamverse.nf/v1
kind: ImageRecipe
metadata: {name: base}
spec:
  slot: 512MiB
  packages:
    - {name: systemd-sysv, why: init}
  kernels:
    production:
      packages: [{name: linux-image-amd64, why: hardware}]
      components: [non-free-firmware]
    cloud:
      packages: [{name: linux-image-cloud-amd64, why: tests}]
"""
HEAD = "apiVersion: streamverse.nf/v1\nkind: ImageRecipe\nmetadata: {name: edge}\nspec:\n  extends: base\n"


def write(directory: Path, own: str, base: str = BASE) -> Path:
    (directory / "base.yaml").write_text(base)
    (directory / "edge.yaml").write_text(own)
    return directory


def problems(directory: Path, own: str, base: str = BASE) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_recipe("edge", directory=write(directory, own, base))
    return [f"{one.line}: {one.key}={one.value}: {one.rule}: {one.remedy}" for one in caught.value.problems]


@pytest.mark.parametrize("kernel", KERNEL_FLAVOURS)
@pytest.mark.parametrize("role", ["core", "headend", "pop"])
def test_shipped_recipes_are_sound(role: str, kernel: str) -> None:
    recipe = load_recipe(role, kernel=kernel)  # type: ignore[arg-type]
    assert recipe.compatible == f"streamverse-nf-{role}-amd64"
    assert {"frr", "rauc", "python3", "cryptsetup-bin"} <= {package.name for package in recipe.packages}
    assert ("non-free-firmware" in recipe.components) is (kernel == "production")


DAEMONS = {
    "frr": "frr.service",
    "kamailio": "kamailio.service",
    "rtpengine-daemon": "rtpengine-daemon.service",
    "janus": "janus.service",
    "coturn": "coturn.service",
    "keepalived": "keepalived.service",
    "trafficserver": "trafficserver.service",
    "varnish": "varnish.service",
}


@pytest.mark.parametrize("role", ["core", "headend", "pop"])
def test_no_daemon_starts_with_debians_configuration(role: str) -> None:
    recipe = load_recipe(role)
    inside = [unit for package, unit in DAEMONS.items() if package in {one.name for one in recipe.packages}]
    assert set(inside) <= set(recipe.masked)
    assert not set(inside) & {*recipe.enabled, *recipe.disabled}


@pytest.mark.parametrize("role", ["core", "pop"])
def test_where_the_5g_core_may_stand_an_operators_open5gs_starts_by_the_agent_only(role: str) -> None:
    recipe = load_recipe(role)
    functions = (*FUNCTIONS, "upf", "sepp")
    assert {f"open5gs-{kind}d.service" for kind in functions} <= set(recipe.masked)
    assert "conntrack" in {package.name for package in recipe.packages}
    # Debian's package of the UPF would have systemd make its device.
    assert any(fnmatch("/etc/systemd/network/99-open5gs.netdev", pattern) for pattern in recipe.exclude)
    users = {user.name: user for user in recipe.users}
    assert users["open5gs"].package == "open5gs-common"


@pytest.mark.parametrize("role", ["core", "pop"])
def test_who_observes_and_who_may_ask_are_users_of_their_own(role: str) -> None:
    users = {user.name: user for user in load_recipe(role).users}
    ours = [users[name] for name in (USER, CALLER)]
    assert [user.package for user in ours] == [PRODUCT, PRODUCT]
    assert not any(user.groups or user.group for user in ours)


@pytest.mark.parametrize("role", ["core", "pop"])
def test_where_a_shield_may_stand_varnish_is_with_its_modules_and_starts_by_the_agent_only(role: str) -> None:
    recipe = load_recipe(role)
    assert {"varnish", "varnish-modules"} <= {package.name for package in recipe.packages}
    users = {user.name: user for user in recipe.users}
    assert {users[name].package for name in ("varnish", "vcache", "varnishlog")} == {"varnish"}
    assert {"varnish.service", "varnishncsa.service"} <= set(recipe.masked)


def test_an_account_has_one_number_in_all_roles_and_no_number_has_two_accounts() -> None:
    users: dict[str, int] = {}
    owners: dict[int, str] = {}
    for role in roles():
        recipe = load_recipe(role)
        for one in (*recipe.users, *recipe.groups):
            assert users.setdefault(one.name, one.id) == one.id, one.name
            assert owners.setdefault(one.id, one.name) == one.name, one.id


def test_a_role_adds_to_base_and_may_have_its_own_slot(tmp_path: Path) -> None:
    own = HEAD + "  slot: 2GiB\n  packages: [{name: frr, why: routes}]\n"
    recipe = load_recipe("edge", kernel="cloud", directory=write(tmp_path, own))
    assert [one.name for one in recipe.packages] == ["systemd-sysv", "frr", "linux-image-cloud-amd64"]
    assert recipe.slot_octets == 2 * 2**30


def test_an_unknown_role_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="did you mean edge") as caught:
        load_recipe("edg", directory=write(tmp_path, HEAD))
    assert "edg" in str(caught.value)


def test_all_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    own = HEAD + (
        "  slot: 12 apples\n"
        "  packages:\n"
        "    - {name: FRR, why: routes}\n"
        "    - {name: varnish}\n"
        "  servces: {}\n"
        "  users: [{name: frr, id: 20, for: frr}]\n"
    )
    told = "\n".join(problems(tmp_path, own))
    assert "6: spec.slot=12 apples: a size is a whole number of MiB or GiB: write it as 1024MiB" in told
    assert "8: spec.packages[0].name=FRR: a Debian package name" in told
    assert "9: spec.packages[1].why=: the key is missing" in told
    assert "10: spec.servces" in told
    assert "did you mean services?" in told
    assert "11: spec.users[0].id=20: must be at least 200" in told


def test_a_package_of_the_base_is_not_listed_again(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, HEAD + "  packages: [{name: systemd-sysv, why: again}]\n")
    assert told.startswith("6: spec.packages[0].name=systemd-sysv: this package is listed twice")


def test_a_users_group_has_to_be_there(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, HEAD + "  users: [{name: frr, id: 300, for: frr, groups: [frrvty]}]\n")
    assert "no such group: frrvty" in told


@pytest.mark.parametrize("pattern", ["usr/share/man/*", "/usr/share/$(reboot)", "/a b", "/x';reboot"])
def test_a_pattern_never_reaches_a_shell(tmp_path: Path, pattern: str) -> None:
    own = HEAD + f"  exclude: [{{paths: [{pattern!r}], why: because}}]\n"
    assert "a path pattern is absolute" in "".join(problems(tmp_path, own)) or "YAML" in "".join(
        problems(tmp_path, own)
    )


def test_the_digest_changes_with_the_recipe(tmp_path: Path) -> None:
    one = load_recipe("edge", directory=write(tmp_path, HEAD)).digest()
    other = load_recipe("edge", directory=write(tmp_path, HEAD + "  packages: [{name: frr, why: routes}]\n")).digest()
    assert one != other
    assert one == load_recipe("edge", directory=write(tmp_path, HEAD)).digest()
