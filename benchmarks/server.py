"""The API on loopback, so bare that its clients are what is measured: prebuilt answers on an `asyncio.Protocol`.

    python benchmarks/server.py

Prints its address, and serves until its standard input ends. `POST /bench/scene` makes tasks that end at random
times, `GET /bench/counts` tells what was asked since, `GET /bench/ends` when each task ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from urllib.parse import parse_qs

PATH = b"/v1/videos/video-extend"
FIRST_ID = 800_000_000_000_000_000  # 18 digits, as the vendor's
SOURCE_URL = "https://cdn.example.com/source.mp4?x-kcdn-sign=0123456789abcdef0123456789abcdef"
OTHERS_PATH = b"/v1/predictions"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: "
_OPENING = b'{"code":0,"message":"SUCCEED","request_id":"5e6f1c6e-6d1c-4c39-9a54-3c9f1f0c9a11","data":'


def record(id: int, external_id: str, made: int, ended: int | None) -> bytes:
    """One task as the vendor shows it; `made` and `ended` in Unix milliseconds, `None` while it is in the works."""
    info: dict[str, object] = {"external_task_id": external_id}
    shown: dict[str, object] = {
        "task_id": str(id),
        "task_status": "processing" if ended is None else "succeed",
        "task_info": info,
        "created_at": made,
        "updated_at": ended or made,
    }
    if ended is not None:
        info["parent_video"] = {"id": f"source-{id}", "url": SOURCE_URL, "duration": "5.1"}
        url = f"https://cdn.example.com/{id}.mp4?x-kcdn-sign=0123456789abcdef0123456789abcdef"
        shown["task_result"] = {"videos": [{"id": f"video-{id}", "url": url, "duration": "9.6"}]}
        shown["final_unit_deduction"] = "2.5"
    return json.dumps(shown, separators=(",", ":")).encode()


class Scene:
    """The tasks of one account, oldest first; the end of each is known in advance.

    Args:
        tasks: how many there are.
        seconds: over how many seconds from now on their ends are spread; 0: all have ended.
        interval: how many seconds make one bucket of the counts.
        seed: of the spread.
    """

    def __init__(self, *, tasks: int = 0, seconds: float = 0.0, interval: float = 1.0, seed: int = 1) -> None:
        random = Random(seed)  # noqa: S311 - the same scene each time
        offsets = [random.uniform(0.0, seconds) for _ in range(tasks)]
        made = round(time.time() * 1000)
        self._now: list[bytes] = [record(FIRST_ID + n, f"bench-{n}", made, None) for n in range(tasks)]
        self._then = [record(FIRST_ID + n, f"bench-{n}", made, made + round(offsets[n] * 1000)) for n in range(tasks)]
        self._order = sorted(range(tasks), key=offsets.__getitem__)
        self._next = 0
        self._interval = interval
        self.counts: Counter[str] = Counter()
        self._buckets: Counter[int] = Counter()
        self.begun = time.time()  # only now: it took a while to write all that
        self.ends = [self.begun + offset for offset in offsets]

    def count(self, kind: str) -> None:
        """Notes a request, and shows every end until now."""
        now = time.time()
        self.counts[kind] += 1
        self._buckets[int((now - self.begun) / self._interval)] += 1
        while self._next < len(self._order) and self.ends[self._order[self._next]] <= now:
            ended = self._order[self._next]
            self._now[ended] = self._then[ended]
            self._next += 1

    def query(self, id: bytes) -> bytes:
        """The record of one task."""
        self.count("query")
        place = int(id) - FIRST_ID if id.isdigit() else int(id.removeprefix(b"bench-"))
        return self._now[place]

    def page(self, number: int, size: int) -> bytes:
        """The records of one page, newest first."""
        self.count("list")
        newest = max(len(self._now) - (number - 1) * size, 0)
        return b"[%b]" % b",".join(self._now[max(newest - size, 0) : newest][::-1])

    def create(self, body: bytes) -> bytes:
        """The record of a new task, which never ends."""
        self.count("create")
        now = round(time.time() * 1000)
        external_id = json.loads(body).get("external_task_id", "")
        made = record(FIRST_ID + len(self._now), external_id, now, None)
        self._now.append(made)
        return made

    def told(self) -> dict[str, object]:
        """How many requests of each kind came, and how many in each interval up to the last."""
        buckets = [self._buckets[n] for n in range(max(self._buckets, default=-1) + 1)]
        return {"kinds": dict(self.counts), "intervals": buckets}


_PREDICTION = (
    b'{"id":"%b","model":"kling/extend","version":"%b","input":{"prompt":"The scene continues","mode":"pro"},"logs":"",'
    b'"output":"https://cdn.example.com/%b.mp4?x-kcdn-sign=0123456789abcdef0123456789abcdef","status":"succeeded",'
    b'"created_at":"2026-09-01T12:00:00.123Z","started_at":"2026-09-01T12:00:01.123Z",'
    b'"completed_at":"2026-09-01T12:03:00.123Z","metrics":{"predict_time":179.0},'
    b'"urls":{"get":"https://api.example.com/v1/predictions/%b","cancel":"https://api.example.com/v1/cancel/%b"}}'
)


class Desk(asyncio.Protocol):
    """One connection, kept alive."""

    scene = Scene()

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Notes where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every request that is whole."""
        self._rest += data
        answers = list(self._answers())
        if answers:
            self._transport.write(b"".join(answers))

    def _answers(self) -> Iterator[bytes]:
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end]
            whole = end + 4 + (0 if head.startswith(b"GET") else _length(head))
            if len(self._rest) < whole:
                return
            body, self._rest = self._rest[end + 4 : whole], self._rest[whole:]
            method, target, _ = head[: head.index(b"\r\n")].split(b" ", 2)
            yield _answer(method, target, body)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at < 0:
        return 0
    stop = lower.find(b"\r\n", at)
    return int(lower[at + 15 : stop if stop >= 0 else None])


def _answer(method: bytes, target: bytes, body: bytes) -> bytes:
    path, _, query = target.partition(b"?")
    if path.startswith(PATH + b"/"):
        return _data(Desk.scene.query(path[len(PATH) + 1 :]))
    if path == PATH and method == b"GET":
        asked = parse_qs(query.decode())
        return _data(Desk.scene.page(int(asked["pageNum"][0]), int(asked["pageSize"][0])))
    if path == PATH:
        return _data(Desk.scene.create(body))
    if path.startswith(OTHERS_PATH):
        return _prediction(path[len(OTHERS_PATH) + 1 :])
    return _control(path, body)


def _prediction(id: bytes) -> bytes:
    """The record of another vendor, whose SDK knows only its own."""
    Desk.scene.count("query" if id else "create")
    shown = id or b"new"
    body = _PREDICTION % (shown, b"0" * 64, shown, shown, shown)
    return b"%b%d\r\n\r\n%b" % (_HEAD, len(body), body)


def _control(path: bytes, body: bytes) -> bytes:
    match path:
        case b"/bench/scene":
            Desk.scene = Scene(**json.loads(body))
            gc.collect()
            gc.freeze()  # a collection over all these records would stall the answers
            return _data(b"%f" % Desk.scene.begun)
        case b"/bench/counts":
            return _data(json.dumps(Desk.scene.told()).encode())
        case b"/bench/ends":
            return _data(json.dumps(Desk.scene.ends).encode())
        case _:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def _data(data: bytes) -> bytes:
    return b"%b%d\r\n\r\n%b%b}" % (_HEAD, len(_OPENING) + len(data) + 1, _OPENING, data)


async def serve() -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Desk, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
