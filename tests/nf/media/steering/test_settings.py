"""What may be set, and where a client is: by the longest prefix."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from nf.media.northbound.whereabouts import Whereabouts, site_prefixes
from nf.media.steering.service import SteeringSettings
from tests.nf.media.hosting_players import lab_fleet


def settings(**more: object) -> SteeringSettings:
    return SteeringSettings.model_validate({"address": "0.0.0.0:7490", **more})


def test_the_fleet_says_where_receivers_are_and_longer_prefixes_count_first() -> None:
    found = {site: [str(one) for one in prefixes] for site, prefixes in site_prefixes(lab_fleet()).items()}
    assert found["pop2"] == ["10.3.2.0/24", "10.3.3.0/24"]
    where = Whereabouts(lab_fleet(), settings(clients={"pop1": ["10.3.2.128/25"], "pop2": ["2001:db8::/32"]}))
    at = {"10.3.2.1": "pop2", "10.3.2.129": "pop1", "2001:db8::1": "pop2", "192.0.2.1": ""}
    assert {address: where.site_of(ip_address(address)) for address in at} == at
    assert where.site_of(None) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "7490"},
        {"clients": {"pop1": ["10.0.0.1/24"]}},
        {"clients": {"Pop 1": []}},
        {"proxies": ["cache"]},
        {"certificate": "/etc/nf/steer.pem"},
        {"colour": "green"},
    ],
)
def test_what_is_wrong_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_settings_are_read_back_as_they_were_written() -> None:
    made = settings(clients={"pop1": ["198.51.100.0/24"]}, proxies=["10.0.0.0/8"])
    assert SteeringSettings.model_validate(made.to_json()) == made
