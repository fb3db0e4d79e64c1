"""The driver with a real S3 origin in a namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nf.clock import Clock, RealClock
from nf.contracts.driver import DriverContext, Step, Undo
from nf.errors import DeniedError, InputError, RefusedError, StorageError, UnavailableError
from nf.media.documents import OriginSection
from nf.media.origin.client import S3, Upload, open_prefixes
from nf.media.origin.driver import MARKER, S3Origin
from nf.media.origin.plan import DELETE, ENSURE, places
from nf.media.packager.uploader import Uploader, parse_arguments
from nf.telemetry.alarms import AlarmEvent, Severity
from nf.trust.secrets import Credentials
from tests.nf.media.live import KEYS, REFERENCE, LiveOrigin, fetch, live_origin, own_namespace, supervisor

pytestmark = [pytest.mark.root, pytest.mark.daemon]

CREDENTIALS = Credentials(*next(iter(KEYS.items())))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveOrigin]:
    with own_namespace(), live_origin(tmp_path_factory.mktemp("origin")) as live:
        yield live


@dataclass
class Box:
    """An appliance: `again` is the same one after a restart of its agent."""

    origin: LiveOrigin
    place: Path
    clock: Clock = field(default_factory=RealClock)

    def driver(self) -> S3Origin:
        units = supervisor(self.place)  # never started: the driver has no units
        context = DriverContext("headend", self.place / "run", self.place / "state", units, self.clock)  # type: ignore[arg-type]
        return S3Origin(context, self.origin.secrets)

    async def commit(self, want: OriginSection | None) -> list[tuple[Step, Undo]]:
        driver, done = self.driver(), []
        for step in driver.plan(await driver.observe(), want):
            await driver.check([step], want)
            done.append((step, await driver.prepare(step)))
            await driver.apply(step, self.origin.context())
        return done

    async def refusal(self, want: OriginSection | None) -> str:
        """What a commit of `want` is refused with by `check`, remedies too."""
        driver = self.driver()
        with pytest.raises(RefusedError) as refused:
            await driver.check(driver.plan(await driver.observe(), want), want)
        return "; ".join(f"{problem} {problem.remedy}" for problem in refused.value.problems)

    async def accepted(self) -> None:
        """The origin takes our key again."""
        async with asyncio.timeout(90):
            while True:
                with contextlib.suppress(DeniedError):
                    await exists(self.origin, "anything")
                    return

    async def undo(self, done: list[tuple[Step, Undo]]) -> None:
        for _, undo in reversed(done):
            await self.driver().undo(undo, self.origin.context())


@pytest.fixture
def box(origin: LiveOrigin, tmp_path: Path) -> Box:
    origin.secret(CREDENTIALS.access_key, CREDENTIALS.secret_key)
    return Box(origin, tmp_path)


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """One for each test."""
    return "t-" + request.node.name.removeprefix("test_").replace("_", "-")[:50].strip("-")


def section(origin: LiveOrigin, bucket: str, *channels: str) -> OriginSection:
    buckets = [
        {"name": bucket, "channel": c, "path": "ott", "credentials": REFERENCE, "provides": [f"bucket={c}"]}
        for c in channels
    ]
    return OriginSection.model_validate({"endpoint": origin.endpoint, "buckets": buckets})


async def put(origin: LiveOrigin, bucket: str, key: str) -> None:
    s3 = S3(origin.endpoint, CREDENTIALS)
    await s3.put(bucket, Upload(key, b"x", "text/plain", "no-store"))
    await s3.close()


async def exists(origin: LiveOrigin, bucket: str) -> bool:
    s3 = S3(origin.endpoint, CREDENTIALS)
    try:
        return await s3.exists(bucket)
    finally:
        await s3.close()


async def settings(origin: LiveOrigin, bucket: str) -> tuple[set[str], list[str]]:
    """What is open to readers, and the ids of the retention's rules."""
    s3 = S3(origin.endpoint, CREDENTIALS)
    try:
        policy = await s3._call(lambda made: made.get_bucket_policy(Bucket=bucket)["Policy"])
        rules = await s3._call(lambda made: made.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
        return open_prefixes(bucket, policy), [rule["ID"] for rule in rules]
    finally:
        await s3.close()


async def drop(origin: LiveOrigin, bucket: str, key: str) -> None:
    s3 = S3(origin.endpoint, CREDENTIALS)
    try:
        await s3.delete(bucket, [key])
    finally:
        await s3.close()


async def test_a_clock_that_is_wrong_is_told_as_such(box: Box, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: wrong)
    told = await box.refusal(section(box.origin, bucket, "ch1"))
    assert "clocks" in told
    assert "chronyc" in told
    assert "give the appliance valid credentials" not in told


async def test_a_bucket_is_made_open_to_readers_and_taken_back(box: Box, bucket: str) -> None:
    driver, want = box.driver(), section(box.origin, bucket, "ch1")
    assert (await driver.observe()).value is None
    done = await box.commit(want)
    for step, _ in done:
        await driver.apply(step, box.origin.context())  # a crash can repeat it
    assert not await driver.verify(want, box.origin.context())
    have = await box.driver().observe()
    assert OriginSection.model_validate(have.value) == want
    assert "bucket=ch1" in have.facts
    assert driver.plan(have, want) == ()

    url = f"{box.origin.endpoint}/{bucket}/ch1/{MARKER}"
    status, headers, _ = fetch(url, {"Origin": "http://player.test"})
    assert (status, "access-control-allow-origin" in headers) == (200, True)
    preflight = {"Origin": "http://player.test", "Access-Control-Request-Method": "GET"}
    assert fetch(url, preflight, "OPTIONS")[0] == 200
    assert fetch(f"{box.origin.endpoint}/{bucket}")[0] == 403  # nobody lists
    await put(box.origin, bucket, "other/1.m4s")
    assert fetch(f"{box.origin.endpoint}/{bucket}/other/1.m4s")[0] == 403  # and nobody reads what is not a channel's
    assert await settings(box.origin, bucket) == ({"ch1/"}, ["streamverse-nf.ch1"])
    await drop(box.origin, bucket, "other/1.m4s")
    assert fetch(f"{box.origin.endpoint}/{bucket}/ch1/x", method="PUT")[0] == 403

    await put(box.origin, bucket, "ch1/video/1.m4s")  # what a packager would have done until then
    await box.undo(done)
    await box.undo(done)
    assert not await exists(box.origin, bucket)
    assert (await box.driver().observe()).value is None


async def test_a_step_that_never_ran_is_undone_to_nothing(box: Box, bucket: str) -> None:
    driver, want = box.driver(), section(box.origin, bucket, "ch1")
    (step,) = driver.plan(await driver.observe(), want)
    await driver.undo(await driver.prepare(step), box.origin.context())
    assert not await exists(box.origin, bucket)


async def test_deletion_is_irreversible_says_what_goes_and_leaves_the_other_channel(box: Box, bucket: str) -> None:
    both = section(box.origin, bucket, "ch1", "ch2")
    await box.commit(both)
    assert not await box.driver().verify(both, box.origin.context())  # it takes a policy of its bucket as it likes
    for channel in ("ch1", "ch2"):
        await put(box.origin, bucket, f"{channel}/video/1.m4s")
    driver, one = box.driver(), section(box.origin, bucket, "ch2")
    (step,) = driver.plan(await driver.observe(), one)
    assert not step.reversible
    assert "object" in step.summary
    assert "gone for ever" in step.disruption
    assert not await driver.verify(one, box.origin.context(0))  # still to be deleted is no drift
    await driver.apply(step, box.origin.context())
    await driver.apply(step, box.origin.context())
    assert fetch(f"{box.origin.endpoint}/{bucket}/ch1/{MARKER}")[0] == 403  # gone, and nobody is let in any more
    assert fetch(f"{box.origin.endpoint}/{bucket}/ch2/video/1.m4s")[0] == 200
    await box.commit(None)
    assert not await exists(box.origin, bucket)


class Late(RealClock):
    """Of a driver that waits when it has deleted a bucket: a segment that was on its way then comes."""

    def __init__(self, origin: LiveOrigin, bucket: str) -> None:
        super().__init__()
        self.origin, self.bucket, self.came = origin, bucket, False

    async def sleep(self, seconds: float) -> None:
        if not self.came and not await exists(self.origin, self.bucket):
            self.came = True
            with contextlib.suppress(UnavailableError):  # SeaweedFS makes the bucket for it, or gives up half-way
                await put(self.origin, self.bucket, "ch1/video/late.m4s")
        await super().sleep(seconds)


async def test_a_segment_that_comes_late_leaves_no_bucket_of_nobody(box: Box, bucket: str) -> None:
    await box.commit(section(box.origin, bucket, "ch1"))
    box.clock = late = Late(box.origin, bucket)
    await box.commit(None)
    assert late.came
    assert not await exists(box.origin, bucket)
    await box.commit(section(box.origin, bucket, "ch1"))
    await box.commit(None)


async def test_what_others_made_is_refused(box: Box, bucket: str) -> None:
    s3 = S3(box.origin.endpoint, CREDENTIALS)
    await s3.create(bucket)
    assert "is not StreamVerse's" in await box.refusal(section(box.origin, bucket, "ch1"))
    await s3.tag(bucket, "headend")
    await put(box.origin, bucket, "ch1/holiday.jpg")
    with pytest.raises(RefusedError, match="no appliance put there"):
        await box.commit(section(box.origin, bucket, "ch1"))
    assert await s3.keys(bucket) == ["ch1/holiday.jpg"]
    await s3.close()


async def test_settings_lost_at_the_origin_are_mended_without_a_disruption(box: Box, bucket: str) -> None:
    want = section(box.origin, bucket, "ch1")
    await box.commit(want)
    s3 = S3(box.origin.endpoint, CREDENTIALS)
    await s3._call(lambda client: client.delete_bucket_policy(Bucket=bucket))
    await s3.close()
    driver = box.driver()
    assert "cannot be read by players" in (await driver.verify(want, box.origin.context(0))).differences[0]
    (step,) = driver.plan(await driver.observe(), want)
    assert (step.disruption, step.reversible) == ("", True)
    undo = await driver.prepare(step)
    await driver.apply(step, box.origin.context())
    assert not await driver.verify(want, box.origin.context())
    await driver.undo(undo, box.origin.context())
    assert fetch(f"{box.origin.endpoint}/{bucket}/ch1/{MARKER}")[0] == 200  # it was there before


async def test_credentials_wrong_revoked_or_absent(box: Box, bucket: str) -> None:
    want = section(box.origin, bucket, "ch1")
    (step,) = box.driver().plan(await box.driver().observe(), want)
    for access, secret, said in (("writer", "wrong-secret-12", "SignatureDoesNotMatch"), ("nobody", "x", "Invalid")):
        box.origin.secret(access, secret)
        told = await box.refusal(want)
        assert said in told
        assert "valid credentials" in told
        assert secret == "x" or secret not in told
        with pytest.raises(DeniedError, match=said):  # revoked between the check and the step
            await box.driver().apply(step, box.origin.context())
    box.origin.secret(CREDENTIALS.access_key, CREDENTIALS.secret_key)
    box.origin.keys({"another": "key"})
    try:
        assert "InvalidAccessKeyId" in await box.refusal(want)
    finally:
        box.origin.keys(KEYS)
        await box.accepted()
    (box.origin.secrets / "origin-writer").unlink()
    assert "secret:origin-writer" in await box.refusal(want)
    assert not await exists(box.origin, bucket)


async def test_credentials_that_may_only_read_are_refused_before_anything_is_changed(box: Box, bucket: str) -> None:
    await box.commit(section(box.origin, bucket, "ch1"))
    box.origin.keys(KEYS, readers={"reader": "reader-secret"})
    box.origin.secret("reader", "reader-secret")
    try:
        async with asyncio.timeout(90):
            while "AccessDenied" not in (told := await box.refusal(section(box.origin, bucket, "ch1", "ch2"))):
                assert "InvalidAccessKeyId" in told  # the origin has not read its keys yet
    finally:
        box.origin.keys(KEYS)


async def test_no_secret_in_steps_undo_records_or_files(box: Box, bucket: str) -> None:
    done = await box.commit(section(box.origin, bucket, "ch1"))
    told = str(done) + "".join(path.read_text() for path in (box.place / "state").rglob("*.json"))
    assert REFERENCE in told
    assert CREDENTIALS.secret_key not in told


async def test_an_origin_that_is_not_there(box: Box, bucket: str) -> None:
    want = section(box.origin, bucket, "ch1").model_copy(update={"endpoint": "http://127.0.0.1:9"})
    driver = box.driver()
    steps = driver.plan(await driver.observe(), want)
    with pytest.raises(RefusedError) as refused:
        await driver.check(steps, want)
    assert "does not answer" in refused.value.problems[0].rule
    (place,) = places(want).values()
    driver._register.mark(place)
    have = await driver.observe()
    assert have.value is None, "never seen, so not there"
    assert "no answer" in str(await driver.verify(want, box.origin.context(0)))
    driver._register.saw(place.key, is_open=True)
    have = await driver.observe()
    assert have.value == {**want.to_json(), "unreachable": [want.endpoint]}
    assert have.facts == {"bucket=ch1"}
    assert driver.plan(have, want) == (), "a commit that leaves the origin alone goes on"
    assert not await driver.verify(want, box.origin.context(0))
    assert [step.kind for step in driver.plan(have, section(box.origin, bucket, "ch1"))] == [ENSURE, DELETE]
    assert "does not answer" in await box.refusal(None)
    events = driver.events()
    event = await anext(events)
    assert isinstance(event, AlarmEvent)
    assert (event.cause, event.severity) == ("origin-unreachable", Severity.MAJOR)
    await events.aclose()  # type: ignore[attr-defined]  # it is an async generator


async def test_records_of_another_kind_are_refused(box: Box) -> None:
    with pytest.raises(InputError):
        await box.driver().undo(Undo("other", {}), box.origin.context())


UPLOADER = {
    "channel": "ch1", "path": "ott", "bucket": "small", "credentials": REFERENCE, "port": 6011, "rate": 1_000_000,
    "segment-ms": 2000, "window-ms": 20_000,
}  # fmt: skip


async def fill(s3: S3, bucket: str) -> None:
    for number in range(20):
        await s3.put(bucket, Upload(str(number), bytes(700_000), "video/mp4", "no-store"))


async def test_an_origin_that_is_full_says_so(tmp_path: Path) -> None:
    with own_namespace(), live_origin(tmp_path, volumes=2, volume_mb=1) as origin:
        s3 = S3(origin.endpoint, CREDENTIALS)
        await s3.create("small")
        with pytest.raises(StorageError, match="stores nothing more") as full:
            await fill(s3, "small")
        assert "space" in full.value.remedy
        await s3.close()
        # An uploader says so, and goes on trying.
        told = [f"--{name}={value}" for name, value in UPLOADER.items()]
        told += [f"--endpoint={origin.endpoint}", f"--directory={tmp_path}", f"--status={tmp_path / 's'}"]
        uploader = Uploader(parse_arguments([*told, f"--secrets={origin.secrets}"]))
        uploading = asyncio.create_task(uploader._until_done(lambda s3: fill(s3, "small")))
        async with asyncio.timeout(90):
            while not (status := uploader.status())["fault"]:  # noqa: ASYNC110 - its status is what is asked for
                await asyncio.sleep(0.05)
        assert status["fault"] == "origin-full"
        assert "space" in str(status["fault_remedy"])
        uploading.cancel()
        await asyncio.gather(uploading, return_exceptions=True)
        await uploader._forget_client()
