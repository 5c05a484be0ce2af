"""The clients that are compared: raw aiohttp, a naive script, and ours. Those of others stand in `sdks.py`.

Each decodes into a typed result. Raw aiohttp builds the very same `Task` by hand, with the JSON library that ours uses:
that is the floor, below which no client on aiohttp can come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from typing import ClassVar, TypedDict, cast

import aiohttp
import jwt
from yarl import URL

from kling_async import ApiKey, KlingClient, PollPolicy, SlotPolicy, Task, TaskStatus, Video
from kling_async.events import Event, OnEvent
from kling_async.runtime.tracing import Tracing
from kling_async.spec import VIDEO_EXTEND_PATH

API_KEY = "benchmark-key-0123456789"
ACCESS_KEY, SECRET_KEY = "benchmark-access-key", "benchmark-secret-key-0123456789abcdef"
PROMPT = "The scene continues, and a storm comes up"
PAGE_SIZE = 500

# The floor reads JSON with whatever ours reads it with, as installed here.
JSON_LIBRARY = "orjson" if "orjson" in sys.modules else "json"
loads = cast("Callable[[bytes], Answer]", json.loads if JSON_LIBRARY == "json" else import_module("orjson").loads)


class VideoRecord(TypedDict, total=False):
    """A video as the API shows it."""

    id: str
    url: str
    duration: str
    watermark_url: str


class Info(TypedDict, total=False):
    """The vendor's `task_info`."""

    external_task_id: str
    parent_video: VideoRecord


class Result(TypedDict):
    """The vendor's `task_result`."""

    videos: list[VideoRecord]


class Record(TypedDict, total=False):
    """A task as the API shows it."""

    task_id: str
    task_status: str
    task_status_msg: str
    task_info: Info
    task_result: Result
    created_at: int
    updated_at: int
    final_unit_deduction: str


class Answer(TypedDict):
    """What every answer of the API is: `data` is a record, or a list of them."""

    code: int
    data: object


def video_of(record: VideoRecord) -> Video:
    """The video of a record."""
    duration = record.get("duration")
    return Video(
        record["id"],
        record.get("url"),
        None if duration is None else Decimal(duration),
        record.get("watermark_url"),
    )


def task_of(record: Record) -> Task:
    """The task of a record, as one would write it by hand."""
    info = record.get("task_info", {})
    result, parent, units = record.get("task_result"), info.get("parent_video"), record.get("final_unit_deduction")
    return Task(
        id=record["task_id"],
        status=TaskStatus(record["task_status"]),
        status_message=record.get("task_status_msg", ""),
        external_task_id=info.get("external_task_id"),
        created_at=datetime.fromtimestamp(record["created_at"] / 1000, UTC),
        updated_at=datetime.fromtimestamp(record["updated_at"] / 1000, UTC),
        videos=tuple([video_of(video) for video in result["videos"]]) if result else (),
        parent_video=video_of(parent) if parent else None,
        final_unit_deduction=None if units is None else Decimal(units),
        raw=record,
    )


def data_of(body: bytes) -> object:
    """What a successful answer holds."""
    answer = loads(body)
    if answer["code"] != 0:
        raise RuntimeError(f"refused: {answer}")
    return answer["data"]


class Client(ABC):
    """One of the compared. It is made within the running loop, and warm after its first calls.

    Args:
        url: the server's.
        interval: seconds between two looks at an awaited task; `None` takes the client's own default.
    """

    SCENES: ClassVar[frozenset[str]] = frozenset({"query", "create", "list"})
    NEEDS: ClassVar[dict[str, str]] = {}  # packages and their modules

    @abstractmethod
    def __init__(self, url: str, interval: float | None = None) -> None: ...

    @abstractmethod
    async def get(self, id: str) -> str:
        """Queries one task; returns the id of the typed result."""

    @abstractmethod
    async def create(self) -> str:
        """Creates a task; returns its id."""

    @abstractmethod
    async def walk(self) -> int:
        """Walks the whole list in pages of 500; returns how many typed tasks came."""

    async def wait(self, id: str) -> str:
        """Waits for the end of a task; returns its id."""
        raise NotImplementedError

    @abstractmethod
    async def close(self) -> None:
        """Closes its connections."""


class Raw(Client):
    """An `aiohttp.ClientSession` and nothing else: the floor."""

    def __init__(self, url: str, interval: float | None = None) -> None:
        self._tasks = url + VIDEO_EXTEND_PATH
        self._interval = interval or 5.0
        self._session = self._opened()

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {API_KEY}"}, timeout=aiohttp.ClientTimeout(total=30)
        )

    def _headers(self) -> dict[str, str] | None:
        return None

    async def get(self, id: str) -> str:
        """One GET."""
        return (await self._task(id)).id

    async def _task(self, id: str) -> Task:
        return task_of(cast("Record", await self._sent("GET", f"{self._tasks}/{id}")))

    async def create(self) -> str:
        """One POST."""
        body = {
            "video_id": "original-video-id",
            "prompt": PROMPT,
            "mode": "pro",
            "external_task_id": f"raw-{uuid.uuid4().hex}",
        }
        return task_of(cast("Record", await self._sent("POST", self._tasks, body))).id

    async def walk(self) -> int:
        """Pages until one is empty."""
        count, number = 0, 1
        while True:
            target = f"{self._tasks}?pageNum={number}&pageSize={PAGE_SIZE}"
            records = cast("list[Record]", await self._sent("GET", target))
            if not records:
                return count
            for record in records:
                count += len(task_of(record).id) > 0
            number += 1

    async def _sent(self, method: str, url: str, body: object = None) -> object:
        async with self._session.request(method, url, json=body, headers=self._headers()) as answer:
            return data_of(await answer.read())

    async def close(self) -> None:
        """Closes the session."""
        await self._session.close()


class Tuned(Raw):
    """The same by somebody who has read the source of aiohttp: no cookies, no quoting of URLs, no redirects."""

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {API_KEY}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def _sent(self, method: str, url: str, body: object = None) -> object:
        address = URL(url, encoded=True)
        async with self._session.request(method, address, json=body, allow_redirects=False) as answer:
            return data_of(await answer.read())


class Naive(Raw):
    """What one writes first: a new token for each request, and a loop of its own for each awaited task."""

    SCENES = Raw.SCENES | {"wait"}

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    def _headers(self) -> dict[str, str]:
        now = int(time.time())
        token = jwt.encode({"iss": ACCESS_KEY, "exp": now + 1800, "nbf": now - 5}, SECRET_KEY, algorithm="HS256")
        return {"Authorization": f"Bearer {token}"}

    async def wait(self, id: str) -> str:
        """One GET per interval."""
        while not (task := await self._task(id)).status.ended:
            await asyncio.sleep(self._interval)
        return task.id


class Ours(Client):
    """`KlingClient` with its defaults; only the line of creates is told that there are slots enough."""

    SCENES = Raw.SCENES | {"wait", "many", "gathered", "cancelled"}

    def __init__(self, url: str, interval: float | None = None) -> None:
        polling = PollPolicy() if interval is None else PollPolicy(interval=interval)
        self.kling = KlingClient(
            ApiKey(API_KEY),
            base_url=url,
            polling=polling,
            slots=SlotPolicy(limit=10**9),
            on_event=self.on_event(),
            tracing=self.tracing(),
        )

    def on_event(self) -> OnEvent | None:
        """Who hears of events: nobody."""
        return None

    def tracing(self) -> Tracing | None:
        """Who makes spans: nobody."""
        return None

    async def get(self, id: str) -> str:
        """By `get`."""
        return (await self.kling.video_extend.get(id)).id

    async def create(self) -> str:
        """By `create`, with an id that the client makes."""
        return (await self.kling.video_extend.create("original-video-id", prompt=PROMPT, mode="pro")).id

    async def walk(self) -> int:
        """By `async for`."""
        count = 0
        async for task in self.kling.video_extend.list(page_size=PAGE_SIZE):
            count += len(task.id) > 0
        return count

    async def wait(self, id: str) -> str:
        """By `wait`."""
        return (await self.kling.video_extend.wait(id)).id

    async def close(self) -> None:
        """Closes the client."""
        await self.kling.close()


class Heard(Ours):
    """The same with a hook that counts."""

    heard = 0

    def on_event(self) -> OnEvent:
        """Counts."""

        def count(_: Event) -> None:
            self.heard += 1

        return count


class Traced(Ours):
    """The same with spans, which an SDK makes and throws away."""

    NEEDS: ClassVar[dict[str, str]] = {"opentelemetry-sdk": "opentelemetry.sdk"}

    def tracing(self) -> Tracing:
        """Spans of the extra `otel`."""
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - may not be installed
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter  # noqa: PLC0415 - likewise

        from kling_async import otel  # noqa: PLC0415 - likewise

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(SpanExporter()))
        return otel.Tracing(provider)
