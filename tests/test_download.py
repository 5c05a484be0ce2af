"""A film on disk: whole, or not there at all."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import attrs
import pytest
from faultserver import Act, FaultServer, answer

from kling_async import ApiKey, ClientClosed, DownloadError, KlingClient, NoVideo, RequestError, Task, TaskStatus, Video
from kling_async.policies import DownloadPolicy, PoolLimits
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall

FILM = os.urandom(3 * 1024 * 1024 + 17)
WHOLE = answer(FILM, headers={"Content-Type": "video/mp4"})


def at(server: FaultServer, *, attempts: int = 6) -> tuple[KlingClient, Video]:
    """A client whose API's own origin is the server, and a video that lies there."""
    client = KlingClient(
        ApiKey("test-key"),
        base_url=server.url,
        wall=wall,
        draw=lambda: 0.5,
        pool=PoolLimits(files=2),
        downloads=DownloadPolicy(attempts=attempts),
    )
    return client, Video("v-1", url=f"{server.url}/films/v-1.mp4?sign=a%2Fb")


async def refused(server: FaultServer, path: Path) -> DownloadError:
    """The error of a download that leaves nothing behind: without a validator, nothing could go on from it."""
    client, video = at(server)
    async with client:
        with pytest.raises(DownloadError) as caught:
            await client.download(video, path)
    assert not list(path.parent.glob("*.part*"))
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "film.mp4"


async def test_file_is_whole_and_the_part_is_gone(path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            assert await client.download(video, path) == path
    assert path.read_bytes() == FILM
    assert os.listdir(path.parent) == ["film.mp4"]  # noqa: PTH208 -- names are what counts


async def test_path_may_be_a_text(path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            assert await client.download(video, str(path)) == path


async def test_simulated_film_of_a_task_is_downloaded(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    task = await kling.video_extend.run(simulator.sources[0])
    await kling.download(task, path)
    assert path.read_bytes()[4:8] == b"ftyp"


async def test_body_in_chunks_is_whole_too(path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    async with FaultServer.of(Act(say=chunked)) as server:
        client, video = at(server)
        async with client:
            await client.download(video, path)
    assert path.read_bytes() == b"hello world"


async def test_file_that_stood_there_is_replaced(path: Path) -> None:
    path.write_bytes(b"old")
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            await client.download(video, path)
    assert path.read_bytes() == FILM


async def test_file_that_stood_there_survives_a_failure(path: Path) -> None:
    path.write_bytes(b"old")
    async with FaultServer.of(Act(say=WHOLE[:-1])) as server:
        await refused(server, path)
    assert path.read_bytes() == b"old"


async def test_part_that_was_left_behind_is_no_obstacle(path: Path) -> None:
    path.with_name("film.mp4.part").write_bytes(b"x" * 10_000_000)
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            await client.download(video, path)
    assert path.read_bytes() == FILM
    assert not path.with_name("film.mp4.part").exists()


# --- what the host may do --------------------------------------------------------------------------------------------

BAD = {
    "403": Act(say=answer(b"no", status="403 Forbidden")),
    "404": Act(say=answer(b"no", status="404 Not Found")),
    "410": Act(say=answer(b"no", status="410 Gone")),
    "500": Act(say=answer(b"no", status="500 Oops")),
    "206": Act(say=answer(b"part of it", status="206 Partial Content")),
    "redirect": Act(say=answer(b"", status="302 Found", headers={"Location": "http://127.0.0.1:9/"})),
    "cut": Act(say=WHOLE[:2_000_000]),
    "cut by a reset": Act(say=WHOLE[:2_000_000], then="reset"),
    "one byte short": Act(say=WHOLE[:-1]),
    "empty": Act(say=answer(b"")),
    "empty, no length": Act(say=b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks cut": Act(say=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"),
    "compressed all the same": Act(say=answer(b"\x1f\x8b\x08\x00nonsense", headers={"Content-Encoding": "gzip"})),
    "no HTTP": Act(say=b"THIS IS NOT HTTP\r\n\r\n"),
    "close": Act(),
    "reset": Act(then="reset"),
    "reset on accept": Act(read="nothing", then="reset"),
    "silence": Act(then="silence"),
    "stall": Act(say=WHOLE[:100_000], then="silence"),
}


@pytest.mark.parametrize("act", BAD.values(), ids=BAD.keys())
async def test_film_that_is_not_whole_is_an_error_and_leaves_nothing(path: Path, act: Act) -> None:
    async with FaultServer.of(act) as server:
        error = await refused(server, path)
        assert str(path) in error.message
        assert error.host == "127.0.0.1"
        assert "sign" not in str(error)
        # Six attempts; the HTTP library repeats a GET that ended without an answer, once.
        assert server.connections <= 12
    assert not path.exists()


async def test_compressed_body_is_an_error(path: Path) -> None:
    packed = gzip.compress(b"a film" * 1000)
    async with FaultServer.of(Act(say=answer(packed, headers={"Content-Encoding": "gzip"}))) as server:
        error = await refused(server, path)
        assert "compressed" in error.message
        assert server.connections == 1


@pytest.mark.parametrize(("act", "seconds"), [(BAD["silence"], 30.0), (BAD["stall"], 60.0)], ids=["silence", "stall"])
async def test_silence_is_borne_for_half_a_minute(path: Path, act: Act, seconds: float) -> None:
    async with FaultServer.of(act) as server:
        client, video = at(server, attempts=1)  # that bring nothing new: the first of a stalled film brings something
        async with client:
            with pytest.raises(DownloadError, match="silent for 30 s"):
                await client.download(video, path)
    assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=1.1)


async def test_slow_line_is_no_silence(path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"slow but steady"), pace=20.0)) as server:
        client, video = at(server)
        async with client:
            await client.download(video, path)
    assert path.read_bytes() == b"slow but steady"
    assert asyncio.get_running_loop().time() > 300.0


async def test_dead_host_is_an_error(path: Path) -> None:
    async with FaultServer.of(Act()) as server:
        client, video = at(server)
    async with client:
        with pytest.raises(DownloadError):
            await client.download(video, path)
    assert not os.listdir(path.parent)  # noqa: PTH208


async def test_no_credentials_and_no_compression_are_asked_with(path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            await client.download(video, path)
        [asked] = server.received
    assert "authorization" not in asked.headers
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.line == "GET /films/v-1.mp4?sign=a%2Fb HTTP/1.1"  # a signature breaks when it is quoted anew


# --- what the caller may ask -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere.example/film.mp4",
        "http://127.0.0.1/film.mp4",
        "http://127.0.0.1:1@elsewhere.example/film.mp4",
        "ftp://127.0.0.1/film.mp4",
        "file:///etc/hostname",
        "//127.0.0.1/film.mp4",
        "film.mp4",
        "https://[",
        "https:///film.mp4",
        "https://host:99999999/film.mp4",
        "",
        None,
    ],
)
async def test_url_that_is_neither_https_nor_the_apis_own_is_refused(path: Path, url: str | None) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            with pytest.raises(RequestError, match="v-9"):
                await client.download(Video("v-9", url=url), path)
        assert server.connections == 0


async def test_task_without_a_video_is_told_apart(path: Path, kling: KlingClient) -> None:
    with pytest.raises(NoVideo):
        await kling.download(Task("t-1", TaskStatus.PROCESSING), path)


async def test_folder_given_is_refused(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            with pytest.raises(RequestError, match="folder"):
                await client.download(video, tmp_path)
        assert server.connections == 0


@pytest.mark.parametrize(
    "place",
    [
        lambda folder: folder / "missing" / "film.mp4",
        lambda folder: _file(folder / "a file") / "film.mp4",
        lambda folder: folder / ("long" * 100),
    ],
    ids=["missing folder", "a file in place of a folder", "name too long"],
)
async def test_path_that_cannot_be_written_is_named(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        error = await refused(server, place(tmp_path))
        assert str(place(tmp_path)) in error.message


def _file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


async def test_null_character_in_a_path_is_refused(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            with pytest.raises(RequestError, match="null"):
                await client.download(video, f"{tmp_path}/film\0.mp4")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
async def test_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        async with FaultServer.of(Act(say=WHOLE)) as server:
            error = await refused(server, tmp_path / "film.mp4")
            assert "film.mp4" in error.message
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
async def test_full_disk_is_named(path: Path) -> None:
    path.with_name("film.mp4.part").symlink_to("/dev/full")
    async with FaultServer.of(Act(say=WHOLE)) as server:
        error = await refused(server, path)
        assert "No space left" in error.message


@pytest.mark.parametrize("spelling", ["film.mp4", "./film.mp4", "sub/../film.mp4"])
async def test_same_path_twice_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    async with FaultServer.of(Act(wait=5.0, say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            first = asyncio.create_task(client.download(video, tmp_path / "film.mp4"))
            await asyncio.sleep(1.0)
            with pytest.raises(RequestError, match="already"):
                await client.download(video, spelling)
            await first
            await client.download(video, spelling)  # one after the other is fine


async def test_two_paths_at_once_are_fine(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, video = at(server)
        async with client:
            await asyncio.gather(*(client.download(video, tmp_path / f"{number}.mp4") for number in range(5)))
    assert all((tmp_path / f"{number}.mp4").read_bytes() == FILM for number in range(5))


@pytest.mark.parametrize("turns", [*range(1, 40, 3), None])
async def test_cancellation_leaves_nothing(path: Path, turns: int | None) -> None:
    async with FaultServer.of(Act(say=WHOLE[:-1], then="silence")) as server:
        client, video = at(server)
        async with client:
            loading = asyncio.create_task(client.download(video, path))
            if turns is None:
                await asyncio.sleep(5.0)
                assert path.with_name("film.mp4.part").exists()  # the control: it was at work
            for _ in range(turns or 0):
                await asyncio.sleep(0)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
            assert not os.listdir(path.parent)  # noqa: PTH208


async def test_closing_the_client_ends_a_download(path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE[:100_000], then="silence")) as server:
        client, video = at(server)
        loading = [asyncio.create_task(client.download(video, path.with_name(name))) for name in "abc"]
        await asyncio.sleep(1.0)
        await client.close()
        outcomes = await asyncio.gather(*loading, return_exceptions=True)  # two at work, one in the queue
        assert [type(outcome) for outcome in outcomes] == [ClientClosed] * 3
    assert not os.listdir(path.parent)  # noqa: PTH208


async def test_downloads_beyond_their_number_wait(tmp_path: Path) -> None:
    async with FaultServer.of(Act(wait=10.0, say=WHOLE, then="keep")) as server:
        client, video = at(server)
        async with client:
            await asyncio.gather(*(client.download(video, tmp_path / f"{number}.mp4") for number in range(4)))
            assert server.connections == 2
    assert asyncio.get_running_loop().time() == pytest.approx(20.0, abs=0.5)


async def test_simulated_file_that_is_gone_is_an_error(kling: KlingClient, simulator: Simulator, path: Path) -> None:
    task = await kling.video_extend.run(simulator.sources[0])
    simulator.script(Fault.code(1203, on="file", times=2))
    with pytest.raises(DownloadError, match="404 to a fresh URL too"):
        await kling.download(task, path)


@pytest.mark.parametrize("video", ["some-id", "https://files.example.com/a.mp4", None])
async def test_what_is_no_video_is_refused(kling: KlingClient, tmp_path: Path, video: object) -> None:
    with pytest.raises(RequestError, match="a Video, or a Task"):
        await kling.download(cast("Video", video), tmp_path / "film.mp4")


async def test_film_that_cannot_be_saved_was_paid(kling: KlingClient, simulator: Simulator, tmp_path: Path) -> None:
    task = await kling.video_extend.run(simulator.sources[0])
    with pytest.raises(DownloadError) as caught:
        await kling.download(task, tmp_path / "missing" / "film.mp4")
    assert (caught.value.created, caught.value.task_id) == ("yes", task.id)


# --- many at once ----------------------------------------------------------------------------------------------------


def tasks_at(server: FaultServer, *names: str) -> list[Task]:
    def video(name: str) -> Video:
        return Video(f"v-{name}", url=f"{server.url}/{name}")

    return [Task(f"t-{name}", TaskStatus.SUCCEED, external_task_id=name, videos=(video(name),)) for name in names]


async def test_all_films_come_in_the_order_given(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            paths = await client.download_all(tasks_at(server, "b", "a", "c"), tmp_path)
    assert paths == [tmp_path / "b.mp4", tmp_path / "a.mp4", tmp_path / "c.mp4"]
    assert all(path.read_bytes() == FILM for path in paths)


async def test_no_films_are_an_empty_list(kling: KlingClient, tmp_path: Path) -> None:
    assert await kling.download_all([], str(tmp_path)) == []
    assert await kling.download_all(iter(()), tmp_path, return_exceptions=True) == []


async def test_simulated_films_are_all_downloaded(kling: KlingClient, simulator: Simulator, tmp_path: Path) -> None:
    tasks = await asyncio.gather(*(kling.video_extend.run(simulator.sources[0]) for _ in range(3)))
    paths = await kling.download_all(tasks, tmp_path)
    assert [path.stem for path in paths] == [task.external_task_id for task in tasks]


async def test_no_more_than_the_limit_are_fetched_at_once(tmp_path: Path) -> None:
    async with FaultServer.of(Act(wait=10.0, say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            await client.download_all(tasks_at(server, *"abcdef"), tmp_path)
    assert asyncio.get_running_loop().time() == pytest.approx(30.0, abs=1.0)


async def test_film_is_named_as_the_user_says(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            [path] = await client.download_all(tasks_at(server, "a"), tmp_path, name=lambda task: f"Film {task.id}.mov")
    assert path == tmp_path / "Film t-a.mov"


@pytest.mark.parametrize("id", ["../../out", "/etc/passwd", "..", "a/b", "C:\\out", "a\0b", "con", ".", "\udcff"])
@pytest.mark.parametrize(
    "named", [None, lambda task: task.external_task_id, lambda task: f"{task.external_task_id}.mp4"]
)
async def test_no_field_of_a_task_leads_out_of_the_folder(
    tmp_path: Path, id: str, named: Callable[[Task], str] | None
) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        task = attrs.evolve(tasks_at(server, "a")[0], external_task_id=id)
        async with client:
            [path] = await client.download_all([task], folder, name=named)
    assert path.parent == folder
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


async def test_task_without_an_id_of_ones_own_is_named_by_the_vendors(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            tasks = [attrs.evolve(tasks_at(server, "a")[0], external_task_id=None)]
            assert await client.download_all(tasks, tmp_path) == [tmp_path / "t-a.mp4"]


@pytest.mark.parametrize("names", [("a", "a"), ("Film", "film"), ("\u00e9", "e\u0301")])
async def test_name_that_comes_twice_is_refused_before_anything_is_fetched(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        given = iter(names)
        async with client:
            with pytest.raises(RequestError, match="the second is t-b"):
                await client.download_all(tasks_at(server, "a", "b"), tmp_path, name=lambda _: next(given))
        assert server.connections == 0


@pytest.mark.parametrize("wanted", ["", None, 7, Path("a.mp4")])
async def test_name_that_is_none_is_refused(kling: KlingClient, tmp_path: Path, wanted: object) -> None:
    with pytest.raises(RequestError, match="gives a file name, here for task t-1"):
        await kling.download_all([Task("t-1", TaskStatus.SUCCEED)], tmp_path, name=lambda _: cast("str", wanted))


@pytest.mark.parametrize("tasks", [Task("t-1", TaskStatus.SUCCEED), Video("v"), "t-1", ["t-1"], [Video("v")], [None]])
async def test_what_is_no_list_of_tasks_is_refused(kling: KlingClient, tmp_path: Path, tasks: object) -> None:
    with pytest.raises(RequestError, match="a list of tasks"):
        await kling.download_all(cast("list[Task]", tasks), tmp_path)


async def test_folder_that_is_none_is_refused(kling: KlingClient, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no folder"):
        await kling.download_all([], tmp_path / "missing")


async def test_first_error_ends_the_others(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"", status="451 No")), Act(then="silence")) as server:
        client, _ = at(server)
        async with client:
            with pytest.raises(DownloadError, match="451"):
                await client.download_all(tasks_at(server, *"abc"), tmp_path)
            assert [task for task in asyncio.all_tasks() if "kling_async film" in task.get_name()] == []
    assert asyncio.get_running_loop().time() < 1.0
    assert not [*tmp_path.iterdir()]


async def test_errors_may_stand_in_their_places(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"", status="451 No")), Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            tasks = [*tasks_at(server, *"abc"), Task("t-d", TaskStatus.PROCESSING)]
            outcomes = await client.download_all(tasks, tmp_path, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(DownloadError) == 1
    assert [outcome for outcome in outcomes if isinstance(outcome, Path)] == sorted(tmp_path.iterdir())
    assert isinstance(outcomes[3], NoVideo)


async def test_progress_says_of_which_task(tmp_path: Path) -> None:
    told: dict[str, int] = {}

    def hear(task: Task, there: int, total: int | None) -> None:
        told[task.id] = there
        assert total == len(FILM)

    async with FaultServer.of(Act(say=WHOLE)) as server:
        client, _ = at(server)
        async with client:
            await client.download_all(tasks_at(server, "a", "b"), tmp_path, progress=hear)
    assert told == {"t-a": len(FILM), "t-b": len(FILM)}


async def test_cancelled_as_one(tmp_path: Path) -> None:
    async with FaultServer.of(Act(then="silence")) as server:
        client, _ = at(server)
        async with client:
            loading = asyncio.create_task(client.download_all(tasks_at(server, *"abc"), tmp_path))
            await asyncio.sleep(5.0)
            loading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loading
            assert [task for task in asyncio.all_tasks() if "kling_async film" in task.get_name()] == []
    assert not [*tmp_path.iterdir()]
