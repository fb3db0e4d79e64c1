"""The service list over HTTP: it follows the policy, its version lasts, it goes on when the store is full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lxml import etree

from nf.media.dvbi.service import PATH, STALE, Dvbi, DvbiSettings
from tests.nf.media.hosting_players import Answer, Host, ask, lab_lineup, serving

SETTINGS = DvbiSettings.model_validate(
    {
        "address": "127.0.0.1:0",
        "list": "tag:streamverse.test,2026:list",
        "name": "StreamVerse",
        "provider": "StreamVerse",
        "country": "FRA",
        "scheme": "http",
    }
)


async def until(host: Host, condition: Callable[[Answer], bool], target: str = PATH) -> Answer:
    async with asyncio.timeout(90):
        while not condition(answer := await ask(host, target)):  # noqa: ASYNC110 - as receivers do
            await asyncio.sleep(0.02)
    return answer


def version(answer: Answer) -> int:
    return int(etree.fromstring(answer.body).get("version"))


def first_path(answer: Answer) -> str:
    found = etree.fromstring(answer.body).find("{*}Service/{*}ServiceInstance")
    return str(found.get("id"))


async def test_a_list_follows_the_policy_with_a_version_that_outlives_the_service() -> None:
    host = Host(SETTINGS)
    host.paths.rank("ch1", "pop1", "iptv", "sat", "ott")
    async with serving(Dvbi(), host):
        first = await ask(host, f"{PATH}?regionId=pop1")
        assert first.headers["content-type"] == "application/vnd.dvb.dvbisl+xml"
        assert (version(first), first_path(first)) == (1, "iptv")
        assert (await ask(host, f"{PATH}?regionId=pop1", If_None_Match=first.headers["etag"])).status == 304
        host.paths.rank("ch1", "pop1", "ott", "iptv", "sat", alert=True)
        changed = await until(host, lambda answer: version(answer) == 2, f"{PATH}?regionId=pop1")
        assert first_path(changed) == "ott"
        assert version(await ask(host, f"{PATH}?regionId=pop2")) == 1
    async with serving(Dvbi(), host):
        again = await ask(host, f"{PATH}?regionId=pop1")
        assert again.body == changed.body


async def test_another_line_up_is_another_version() -> None:
    host = Host(SETTINGS)
    async with serving(Dvbi(), host):
        assert version(await ask(host, PATH)) == 1
        text = (await ask(host, PATH)).body
        assert b"Channel One" in text
        lineup = lab_lineup()
        channels = tuple(c.model_copy(update={"name": f"{c.name} HD"}) for c in lineup.spec.channels)
        host.commit(lineup.model_copy(update={"spec": lineup.spec.model_copy(update={"channels": channels})}))
        changed = await until(host, lambda answer: version(answer) == 2)
        assert b"Channel One HD" in changed.body


async def test_without_room_in_the_store_the_list_stays_as_it_was_under_an_alarm() -> None:
    host = Host(SETTINGS)
    host.paths.rank("ch1", "pop1", "iptv", "sat", "ott")
    async with serving(Dvbi(), host):
        before = await ask(host, PATH)
        host.records.full = True
        host.paths.rank("ch1", "pop1", "ott", "iptv", "sat", alert=True)
        async with asyncio.timeout(90):
            while (STALE, "list") not in host.alarms:  # noqa: ASYNC110 - the host is told
                await asyncio.sleep(0.02)
        assert (await ask(host, PATH)).body == before.body
        host.records.full = False
        await until(host, lambda answer: version(answer) == 2)
        async with asyncio.timeout(90):
            while host.alarms:  # noqa: ASYNC110 - the host is told
                await asyncio.sleep(0.02)


async def test_what_is_not_there_is_refused() -> None:
    host = Host(SETTINGS)
    async with serving(Dvbi(), host):
        assert (await ask(host, f"{PATH}?regionId=nowhere")).status == 404
        assert (await ask(host, "/")).status == 404
        assert (await ask(host, PATH, "DELETE")).status == 405
