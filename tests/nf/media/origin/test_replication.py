"""What an origin says of its copies elsewhere, as an alarm: of a server that answers as S3 does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

from nf.clock import VirtualClock
from nf.contracts.driver import DriverContext
from nf.contracts.units import Units
from nf.media.documents import Bucket
from nf.media.origin.driver import MARKER, S3Origin
from nf.media.origin.plan import Place
from nf.media.origin.register import Register
from nf.telemetry.alarms import AlarmEvent, Severity


class Origin:
    """Answers for any object; `replication`: what it says of it."""

    def __init__(self) -> None:
        self.replication = ""
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(request.split(b" ")[1].decode())
        said = f"x-amz-replication-status: {self.replication}\r\n" if self.replication else ""
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n{said}\r\n".encode())
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self.answer, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_copy_that_failed_is_an_alarm_until_it_is_made(tmp_path: Path) -> None:
    origin, clock = Origin(), VirtualClock()
    async with origin.serving() as endpoint:
        bucket = Bucket(name="media", channel="ch1", path="ott", credentials="secret:origin")
        place = Place(endpoint, bucket)
        Register(tmp_path / "s3-origin" / "buckets.json").mark(place)
        driver = S3Origin(DriverContext("headend", tmp_path, tmp_path, cast("Units", None), clock), tmp_path)
        async with aclosing(driver.events()) as events:  # type: ignore[type-var]

            async def alarm(cause: str) -> AlarmEvent:
                """The next one of that cause."""
                while True:
                    said = asyncio.ensure_future(anext(events))
                    while not said.done():
                        await asyncio.wait([said], timeout=0.05)
                        await clock.advance(1.0)
                    event = said.result()
                    assert isinstance(event, AlarmEvent)
                    if event.cause == cause:
                        return event

            first = await alarm("origin-not-replicated")
            assert (first.object, first.severity) == (place.key, Severity.CLEARED)
            origin.replication = "FAILED"
            failed = await alarm("origin-not-replicated")
            assert (failed.object, failed.severity) == (place.key, Severity.MAJOR)
            assert "could not copy ch1/ of bucket media" in failed.text
            assert "replication" in failed.remedy
            origin.replication = "COMPLETED"
            assert (await alarm("origin-not-replicated")).severity is Severity.CLEARED
    assert set(origin.asked) == {f"/media/ch1/{MARKER}"}
