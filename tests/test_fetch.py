"""Downloads that break off, and go on; and the small version of `python tests/fetch.py`."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from faultserver import Act, FaultServer, answer, envelope
from fetch import MIB, Kills, Line, killed, large
from fileserver import FileServer, film, is_film

from kling_async import (
    ApiKey,
    ClientClosed,
    DownloadError,
    DownloadPolicy,
    KlingClient,
    RetryPolicy,
    Task,
    TaskStatus,
    Video,
)
from kling_async.testing import wall

SIZE = 3 * MIB + 17


def kling(home: str, **policy: int) -> KlingClient:
    return KlingClient(ApiKey("key"), base_url=home, wall=wall, draw=lambda: 0.5, downloads=DownloadPolicy(**policy))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.mp4"


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with FileServer(SIZE) as server:
        yield server


def video(server: FileServer) -> Video:
    return Video("v-1", url=f"{server.url}/f.mp4?sign=secret")


async def broken(server: FileServer, path: Path, *, after: int) -> DownloadError:
    """The error of a download that the host ends for good after so many bytes."""
    server.breaks, server.shows = after, lambda head: head
    async with kling(server.url, attempts=1) as client:
        server.first = [None, answer(b"", status="500 Oops")]
        with pytest.raises(DownloadError) as caught:
            await client.download(video(server), path)
    server.breaks = None
    server.asked.clear()
    return caught.value


# --- in one call -----------------------------------------------------------------------------------------------------


async def test_connection_that_breaks_again_and_again_costs_no_byte(server: FileServer, path: Path) -> None:
    server.breaks = 300_000
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert is_film(path, SIZE)
    assert [asked.start for asked in server.asked] == [*range(0, SIZE, 300_000)]
    assert server.sent == SIZE


async def test_each_request_goes_on_under_the_validator(server: FileServer, path: Path) -> None:
    server.breaks, server.break_times = 2 * MIB, 1
    async with kling(server.url) as client:
        await client.download(video(server), path)
    first, second = server.asked
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-range"]) == (f"bytes={2 * MIB}-", '"film"')


async def test_date_is_a_validator_too(server: FileServer, path: Path) -> None:
    changed = "Mon, 23 Nov 2026 09:00:00 GMT"
    server.headers = {"Last-Modified": changed, "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}
    server.breaks, server.break_times = 2 * MIB, 1
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert server.asked[1].headers["if-range"] == changed
    assert is_film(path, SIZE)


async def test_film_that_changes_meanwhile_is_begun_anew(server: FileServer, path: Path) -> None:
    server.breaks, server.break_times = MIB, 1

    def change(bytes: int, total: int | None) -> None:
        if bytes >= MIB // 2:
            server.headers = {"ETag": '"another"'}

    async with kling(server.url) as client:
        await client.download(video(server), path, progress=change)
    assert [asked.start for asked in server.asked] == [0, 0]
    assert is_film(path, SIZE)


async def test_host_without_ranges_is_asked_for_the_whole_again(server: FileServer, path: Path) -> None:
    server.ranges, server.breaks, server.break_times = False, MIB, 2
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert [asked.start for asked in server.asked] == [0, 0, 0]
    assert is_film(path, SIZE)


async def test_host_that_sends_the_wrong_range_is_not_believed(server: FileServer, path: Path) -> None:
    server.breaks, server.break_times = MIB, 1
    server.shows = lambda head: head.replace(f"bytes {MIB}-", "bytes 0-")
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert [asked.start for asked in server.asked] == [0, MIB, 0]
    assert is_film(path, SIZE)


async def test_host_that_says_too_little_never_gives_a_film(server: FileServer, path: Path) -> None:
    server.shows = lambda head: head.replace(f"Content-Length: {SIZE}", f"Content-Length: {SIZE + 5}")
    server.break_times = 0
    async with kling(server.url, attempts=2) as client:
        with pytest.raises(DownloadError):
            await client.download(video(server), path)
    assert not path.exists()


async def test_stall_goes_on_where_it_was(path: Path) -> None:
    head = f'HTTP/1.1 200 OK\r\nETag: "t"\r\nContent-Length: {SIZE}\r\n\r\n'.encode()
    rest = answer(
        film(MIB, SIZE), status="206 Partial Content", headers={"Content-Range": f"bytes {MIB}-{SIZE - 1}/{SIZE}"}
    )
    acts = Act(say=head + film(0, MIB), then="silence"), Act(say=rest)
    async with FaultServer.of(*acts) as server, kling(server.url) as client:
        await client.download(Video("v", url=f"{server.url}/f"), path)
    assert is_film(path, SIZE)
    assert asyncio.get_running_loop().time() == pytest.approx(30.0, abs=1.0)


async def test_trouble_of_the_host_is_waited_out(server: FileServer, path: Path) -> None:
    server.first = [
        answer(b"", status="503 Busy", headers={"Retry-After": "20"}),
        answer(b"", status="500 Oops"),
        answer(b"", status="429 Slowly"),
    ]
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert is_film(path, SIZE)
    assert asyncio.get_running_loop().time() == pytest.approx(20.0 + 0.5 + 1.0, abs=0.1)


async def test_what_is_gone_on_with_is_logged_without_the_url(
    server: FileServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.breaks, server.break_times = MIB, 1
    with caplog.at_level(logging.INFO, "kling_async"):
        async with kling(server.url) as client:
            await client.download(video(server), path)
    assert f"going on at byte {MIB}" in caplog.text
    assert "secret" not in caplog.text


async def test_film_that_is_too_large_leaves_nothing(server: FileServer, path: Path) -> None:
    async with kling(server.url, max_bytes=SIZE - 1) as client:
        with pytest.raises(DownloadError, match="more than max_bytes"):
            await client.download(video(server), path)
    assert not [*path.parent.iterdir()]
    async with kling(server.url, max_bytes=SIZE) as client:
        await client.download(video(server), path)


async def test_endless_film_is_stopped(path: Path) -> None:
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    endless = Act(say=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 50, then="silence")
    async with FaultServer.of(endless) as server, kling(server.url, max_bytes=MIB) as client:
        with pytest.raises(DownloadError, match="more than max_bytes"):
            await client.download(Video("v", url=f"{server.url}/f"), path)
    assert not [*path.parent.iterdir()]


async def test_certificate_that_is_not_valid_is_tried_once(path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(__file__).parent / "samples" / "loopback.pem")
    async with FaultServer.of(Act(say=answer(b"a film")), tls=tls) as server, kling(server.url) as client:
        with pytest.raises(DownloadError, match="certificate") as caught:
            await client.download(Video("v", url=f"{server.url}/f"), path)
        assert (caught.value.attempts, server.received) == (1, [])


# --- in a later call -------------------------------------------------------------------------------------------------


async def test_later_call_goes_on_and_the_error_says_so(server: FileServer, path: Path) -> None:
    error = await broken(server, path, after=2 * MIB)
    assert f"{2 * MIB:,} bytes of it are kept beside it" in error.message
    assert error.attempts == 2
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert [asked.start for asked in server.asked] == [2 * MIB]
    assert is_film(path, SIZE)
    assert [found.name for found in path.parent.iterdir()] == ["film.mp4"]


async def test_later_call_under_another_url_goes_on_too(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    async with kling(server.url) as client:
        await client.download(Video("v-1", url=f"{server.url}/elsewhere?sign=other"), path)
    assert [asked.start for asked in server.asked] == [2 * MIB]


async def test_later_call_for_another_film_begins_anew(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    async with kling(server.url) as client:
        await client.download(Video("v-2", url=f"{server.url}/f"), path)
    assert [asked.start for asked in server.asked] == [0]


async def test_film_that_changed_between_calls_is_begun_anew(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    server.headers = {"ETag": '"another"'}
    async with kling(server.url) as client:
        await client.download(video(server), path)
    assert [asked.start for asked in server.asked] == [0]
    assert is_film(path, SIZE)


async def test_nothing_on_disk_shows_the_url(server: FileServer, path: Path) -> None:
    await broken(server, path, after=1000)
    assert len([*path.parent.iterdir()]) == 2
    for found in path.parent.iterdir():
        assert b"secret" not in found.read_bytes()


async def test_without_a_validator_nothing_is_kept(server: FileServer, path: Path) -> None:
    server.headers = {"ETag": 'W/"weak"'}
    error = await broken(server, path, after=2 * MIB)
    assert "kept" not in error.message
    assert not [*path.parent.iterdir()]


async def test_film_that_is_gone_is_not_kept_for(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    server.first = [answer(b"", status="451 Not Here")]
    async with kling(server.url) as client:
        with pytest.raises(DownloadError, match="451"):
            await client.download(video(server), path)
    assert not [*path.parent.iterdir()]


async def test_disk_that_fails_keeps_what_is_there(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    path.mkdir()  # so that the last step fails
    async with kling(server.url) as client:
        path.rmdir()

        def take(bytes: int, total: int | None) -> None:
            if bytes == total:
                path.mkdir()

        with pytest.raises(DownloadError, match=r"Is a directory; 3,145,745 bytes of it are kept"):
            await client.download(video(server), path, progress=take)
        path.rmdir()
        await client.download(video(server), path)
    assert is_film(path, SIZE)
    assert server.asked[-1].start == SIZE - 1  # one byte, to hear from the host that it is this film


async def test_cancelled_download_is_gone_on_with(server: FileServer, path: Path) -> None:
    server.pause = 1.0
    async with kling(server.url) as client:
        loading = asyncio.create_task(client.download(video(server), path))
        await asyncio.sleep(5.5)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        there = path.with_name("film.mp4.part").stat().st_size
        assert there > MIB
        server.asked.clear()
        await client.download(video(server), path)
    assert [asked.start for asked in server.asked] == [there]
    assert is_film(path, SIZE)


async def test_download_that_the_close_ends_is_gone_on_with(server: FileServer, path: Path) -> None:
    server.pause = 1.0
    client = kling(server.url)
    loading = asyncio.create_task(client.download(video(server), path))
    await asyncio.sleep(5.5)
    await client.close()
    with pytest.raises(ClientClosed, match="bytes of it are kept"):
        await loading
    server.asked.clear()
    async with client:
        await client.download(video(server), path)
    assert server.asked[0].start > MIB


async def test_closing_the_client_ends_a_pause(server: FileServer, path: Path) -> None:
    server.first = [answer(b"", status="503 Busy", headers={"Retry-After": "50"})]
    client = kling(server.url)
    loading = asyncio.create_task(client.download(video(server), path))
    await asyncio.sleep(5.0)
    await client.close()
    with pytest.raises(ClientClosed):
        await loading


# --- progress --------------------------------------------------------------------------------------------------------


async def test_progress_is_told_from_the_first_byte_to_the_last(server: FileServer, path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    async with kling(server.url) as client:
        await client.download(video(server), path, progress=lambda *how_far: told.append(how_far))
    assert (told[0], told[-1]) == ((0, SIZE), (SIZE, SIZE))
    assert told == sorted(told)
    assert len(told) > 3


async def test_progress_of_a_later_call_begins_where_it_goes_on(server: FileServer, path: Path) -> None:
    await broken(server, path, after=2 * MIB)
    told: list[int] = []
    async with kling(server.url) as client:
        await client.download(video(server), path, progress=lambda there, _: told.append(there))
    assert told[0] == 2 * MIB


async def test_progress_without_a_length_says_so(path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    told: list[tuple[int, int | None]] = []
    async with FaultServer.of(Act(say=chunked)) as server, kling(server.url) as client:
        await client.download(Video("v", url=f"{server.url}/f"), path, progress=lambda *how_far: told.append(how_far))
    assert told == [(0, None), (5, None)]


@pytest.mark.parametrize("kind", [ValueError, OSError, TimeoutError, RuntimeError, LookupError])
async def test_what_the_callback_raises_ends_the_download_as_it_is(
    server: FileServer, path: Path, kind: type[Exception]
) -> None:
    def fail(bytes: int, total: int | None) -> None:
        if bytes > MIB:
            raise kind("the user's own")

    async with kling(server.url) as client:
        with pytest.raises(kind, match="the user's own"):
            await client.download(video(server), path, progress=fail)
        server.asked.clear()
        await client.download(video(server), path)
    assert server.asked[0].start > MIB


# --- URLs that have gone ---------------------------------------------------------------------------------------------


GONE = answer(b"", status="403 Forbidden")


def record(url: str, *, id: str = "v-1", task: str = "t-1") -> dict[str, object]:
    return {
        "task_id": task,
        "task_status": "succeed",
        "task_result": {"videos": [{"id": id, "url": url, "duration": "9.6"}]},
    }


def task_at(server: FaultServer, *, parent: bool = True, ended: datetime | None = None) -> Task:
    return Task(
        "t-1",
        TaskStatus.SUCCEED,
        external_task_id="mine",
        updated_at=ended,
        videos=(Video("v-1", url=f"{server.url}/old?sign=secret"),),
        parent_video=Video("v-0") if parent else None,
    )


def lines(server: FaultServer) -> list[str]:
    return [asked.line.split()[1] for asked in server.received]


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone"])
async def test_url_of_a_task_that_has_gone_is_refreshed_by_one_query(path: Path, status: str) -> None:
    async with FaultServer.of(Act(say=answer(b"", status=status))) as server, kling(server.url) as client:
        server.acts += [Act(say=envelope(record(f"{server.url}/new"))), Act(say=answer(b"a film"))]
        await client.download(task_at(server), path)
        assert lines(server) == ["/old?sign=secret", "/v1/videos/video-extend/t-1", "/new"]
        assert ["authorization" in asked.headers for asked in server.received] == [False, True, False]
    assert path.read_bytes() == b"a film"


async def test_url_that_goes_in_the_middle_is_refreshed_and_gone_on_with(path: Path) -> None:
    head = b'HTTP/1.1 200 OK\r\nETag: "t"\r\nContent-Length: 6\r\n\r\na f'
    rest = answer(b"ilm", status="206 Partial Content", headers={"Content-Range": "bytes 3-5/6"})
    async with FaultServer.of(Act(say=head), Act(say=GONE)) as server, kling(server.url) as client:
        server.acts += [Act(say=envelope(record(f"{server.url}/new"))), Act(say=rest)]
        await client.download(task_at(server), path)
        assert server.received[-1].headers["range"] == "bytes=3-"
    assert path.read_bytes() == b"a film"


async def test_task_without_a_parent_is_looked_for_as_omni_video_first(path: Path) -> None:
    async with FaultServer.of(Act(say=GONE)) as server, kling(server.url) as client:
        unknown = envelope(None, code=1201, status="400 Bad Request")
        server.acts += [Act(say=unknown), Act(say=envelope(record(f"{server.url}/new"))), Act(say=answer(b"a film"))]
        await client.download(task_at(server, parent=False), path)
        assert lines(server)[1:3] == ["/v1/videos/omni-video/t-1", "/v1/videos/video-extend/t-1"]


async def refresh_fails(path: Path, *acts: Act) -> tuple[DownloadError, FaultServer]:
    async with FaultServer.of(Act(say=GONE), *acts) as server:
        retry = RetryPolicy(timeout=5.0, first_wait=1.0)
        async with KlingClient(ApiKey("k"), base_url=server.url, wall=wall, draw=lambda: 0.5, retry=retry) as client:
            with pytest.raises(DownloadError) as caught:
                await client.download(task_at(server), path)
    assert (caught.value.created, caught.value.task_id, caught.value.external_task_id) == ("yes", "t-1", "mine")
    assert "secret" not in str(caught.value)
    assert not [*path.parent.iterdir()]
    return caught.value, server


async def test_fresh_url_that_has_gone_too_ends_it(path: Path) -> None:
    async with FaultServer.of(Act(say=GONE)) as server, kling(server.url) as client:
        server.acts += [Act(say=envelope(record(f"{server.url}/new"))), Act(say=GONE)]
        with pytest.raises(DownloadError, match="403 to a fresh URL too") as caught:
            await client.download(task_at(server), path)
        assert len(server.received) == 3
        assert caught.value.attempts == 2


async def test_refresh_that_fails_says_why(path: Path) -> None:
    error, _ = await refresh_fails(path, Act(say=envelope(None, code=1102, status="429 Too Many")))
    assert "403, and asking for a fresh URL failed: " in error.message


@pytest.mark.parametrize("found", [record("", id="v-1"), record("https://files.example/new", id="v-2")])
async def test_refresh_without_this_film_ends_it(path: Path, found: dict[str, object]) -> None:
    error, _ = await refresh_fails(path, Act(say=envelope(found)))
    assert "403, and the vendor has no other URL of this film" in error.message


async def test_fresh_url_is_vetted(path: Path) -> None:
    error, server = await refresh_fails(path, Act(say=envelope(record("https://169.254.169.254/latest"))))
    assert "403, and the fresh URL leads to an address that is not public" in error.message
    assert len(server.received) == 2


async def test_url_of_a_video_cannot_be_refreshed(path: Path) -> None:
    async with FaultServer.of(Act(say=GONE)) as server, kling(server.url) as client:
        with pytest.raises(DownloadError, match="answered 403"):
            await client.download(task_at(server).video, path)
        assert len(server.received) == 1


async def test_what_is_there_stays_for_whoever_comes_with_a_fresh_url(server: FileServer, path: Path) -> None:
    await broken(server, path, after=MIB)
    server.first = [GONE]
    async with kling(server.url) as client:
        with pytest.raises(DownloadError, match="1,048,576 bytes of it are kept"):
            await client.download(video(server), path)


# --- films of long ago -----------------------------------------------------------------------------------------------


async def test_task_of_long_ago_is_expired_before_anything_is_fetched(path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"a film"))) as server, kling(server.url) as client:
        ended = datetime.fromtimestamp(wall(), UTC) - timedelta(days=30, seconds=1)
        with pytest.raises(DownloadError, match="expired: task t-1 ended on 20") as caught:
            await client.download(task_at(server, ended=ended), path)
        assert server.connections == 0
        assert (caught.value.created, caught.value.task_id, caught.value.attempts) == ("yes", "t-1", 0)
        await client.download(task_at(server, ended=ended + timedelta(seconds=2)), path)


async def test_task_without_times_of_its_end_is_as_old_as_its_begin(path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"a film"))) as server, kling(server.url) as client:
        created = datetime.fromtimestamp(wall(), UTC) - timedelta(days=31)
        with pytest.raises(DownloadError, match="expired"):
            await client.download(attrs.evolve(task_at(server), created_at=created), path)
        await client.download(task_at(server), path)  # nobody knows how old it is


# --- the campaigns, small --------------------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_large_film_over_a_bad_line_is_right_and_cheap() -> None:
    line = await large(48 * MIB, breaks=10 * MIB)
    assert line.clean, str(line)
    assert line.requests == 5


@pytest.mark.real_time
@pytest.mark.parametrize(("without", "breaks"), [("streaming", None), ("resume", 10 * MIB)])
async def test_line_without_its_guard_is_noticed(without: str, breaks: int | None) -> None:
    line = await large(32 * MIB, breaks=breaks, without=without)
    assert not line.clean, str(line)


@pytest.mark.real_time
async def test_killed_downloads_show_no_part_and_go_on() -> None:
    figures = await killed(3, seed=9, size=16 * MIB, seconds=0.8)
    assert figures.clean, str(figures)
    assert figures.kills == 3
    assert figures.resumed > 0


@pytest.mark.real_time
@pytest.mark.parametrize(("without", "seen"), [("note", "anew"), ("name", "partial")])
async def test_kills_without_a_guard_are_noticed(without: str, seen: str) -> None:
    figures = await killed(1, seed=2, size=16 * MIB, seconds=0.8, without=without)
    assert getattr(figures, seen) > 0, str(figures)


@pytest.mark.parametrize("bad", ["anew", "partial", "wrong", "left"])
def test_one_of_anything_bad_is_not_clean(bad: str) -> None:
    figures = Kills()
    assert figures.clean
    setattr(figures, bad, 1)
    assert not figures.clean


@pytest.mark.parametrize(("bad", "value"), [("right", False), ("growth", 17 * MIB), ("sent", 102)])
def test_line_that_is_bad_in_anything_is_not_clean(bad: str, value: int) -> None:
    line = Line(100, right=True, sent=101, growth=16 * MIB)
    assert line.clean
    setattr(line, bad, value)
    assert not line.clean
