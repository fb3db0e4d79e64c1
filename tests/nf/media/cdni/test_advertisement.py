"""What upstream CDNs are told, in the form of RFC 8008 and RFC 9808, and who is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from nf.contracts.paths import PathHealth, Verdict
from nf.errors import IntegrityError
from nf.media.cdni.advertisement import advertisement
from nf.media.cdni.service import PATH, Cdni, CdniSettings, Partners
from tests.nf.media.hosting_players import Host, ask, lab_fleet, lab_lineup, serving


def limits(*health: PathHealth) -> dict[str, tuple[Any, ...]]:
    made: Any = advertisement(lab_lineup(), lab_fleet(), health)
    found = [one for one in made["capabilities"] if one["capability-type"] == "FCI.CapacityLimits"]
    return {
        one["capability-value"]["limits"][0]["id"]: (
            one["capability-value"]["limits"][0]["maximum-hard"],
            one["capability-value"]["limits"][0]["maximum-soft"],
            one["footprints"],
        )
        for one in found
    }


def test_each_site_has_a_limit_where_its_receivers_are() -> None:
    assert limits() == {
        "egress-pop1": (
            20_000_000,
            16_000_000,
            [{"footprint-type": "ipv4cidr", "footprint-value": ["10.3.1.0/24", "10.5.1.0/24"]}],
        ),
        "egress-pop2": (
            20_000_000,
            16_000_000,
            [{"footprint-type": "ipv4cidr", "footprint-value": ["10.3.2.0/24", "10.3.3.0/24"]}],
        ),
    }


def test_a_site_that_is_down_offers_nothing_and_one_bad_channel_is_no_site() -> None:
    def health(channel: str, verdict: Verdict) -> PathHealth:
        return PathHealth(channel, "ott", "cdn", "pop1", verdict, "", 0.0)

    assert limits(health("ch1", Verdict.DOWN))["egress-pop1"][0] == 0
    assert limits(health("ch1", Verdict.DOWN), health("ch2", Verdict.UP))["egress-pop1"][0] == 20_000_000


def test_an_objects_members_are_those_of_the_standard() -> None:
    made: Any = advertisement(lab_lineup(), lab_fleet(), ())
    assert [one["capability-type"] for one in made["capabilities"]][:2] == [
        "FCI.DeliveryProtocol",
        "FCI.AcquisitionProtocol",
    ]
    assert all(set(one) == {"capability-type", "capability-value", "footprints"} for one in made["capabilities"])
    assert advertisement(lab_lineup(), lab_fleet().model_copy(update={"spec": type(lab_fleet().spec)()}), ()) == {
        "capabilities": []
    }


def partners(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_only_who_shows_a_token_of_ours_is_told_and_a_token_that_is_taken_out_counts_no_longer(
    tmp_path: Path,
) -> None:
    digest = hashlib.sha256(b"opensesame").hexdigest()
    file = partners(tmp_path / "partners", json.dumps({"upstream": digest}))
    host = Host(CdniSettings.model_validate({"address": "127.0.0.1:0", "partners": str(file)}))
    async with serving(Cdni(), host):
        for shown in ("", "Bearer", "Bearer wrong", "Basic opensesame", f"Bearer {digest}"):
            refused = await ask(host, PATH, Authorization=shown)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="cdni"')
        answer = await ask(host, PATH, Authorization="Bearer opensesame")
        assert answer.status == 200
        assert json.loads(answer.body)["capabilities"]
        assert answer.headers["cache-control"].startswith("private")
        partners(file, "{}")
        assert (await ask(host, PATH, Authorization="Bearer opensesame")).status == 401


@pytest.mark.parametrize("text", ["", "[]", '{"upstream": "opensesame"}', "\u00e9{"])
def test_a_file_that_lists_no_partners_is_refused_without_being_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        Partners(partners(tmp_path / "partners", text)).read()
    assert "opensesame" not in str(caught.value)
