"""A desk at the pure engine: a clock that stands still until it is moved, and short words for the calls."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from kling_async.simulator.account import API_KEY
from kling_async.simulator.engine import Engine
from kling_async.spec import OMNI_VIDEO_PATH, VIDEO_EXTEND_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from decimal import Decimal

    from kling_async.simulator.ledger import Task
    from kling_async.simulator.wire import Reply

START = 1_800_000_000.25
EXTEND = VIDEO_EXTEND_PATH
OMNI = OMNI_VIDEO_PATH
SOURCE = "original-video-id"
SHOT = {
    "model_name": "kling-video-o1",
    "prompt": "Based on <<<video_1>>>, generate the next shot",
    "video_list": [{"video_url": "https://example.com/a.mp4", "refer_type": "feature"}],
}

# An alphabet of trouble: hypothesis takes a second to learn all of Unicode, and finds less with it.
odd_text = st.text(st.sampled_from("aZ09 -_.,:;/?&=%+<>{}[]\"'\\\0\n\r\x7fé\uff11中\U0001f600\ud800\udcff\uffff"))


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def tiny_film(segments: Sequence[Decimal]) -> bytes:
    return b"film of " + b"+".join(str(seconds).encode() for seconds in segments)


class Desk:
    """An engine with its clock; every call is signed with the API key unless it says otherwise."""

    def __init__(
        self,
        *,
        lenient: bool = False,
        slots: int | None = None,
        units: int | None = None,
        task_seconds: float | Callable[[Task], float] = 60.0,
        submitted_seconds: float = 10.0,
        seed: int = 1,
    ) -> None:
        self.clock = Clock()
        self.engine = Engine(
            clock=self.clock,
            rng=Random(seed),  # noqa: S311 -- a run that can be repeated
            lenient=lenient,
            slots=slots,
            units=units,
            task_seconds=task_seconds,
            submitted_seconds=submitted_seconds,
            film=tiny_film,
        )
        self.engine.base_url = "http://vendor"

    def call(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        signed = {"Authorization": f"Bearer {API_KEY}"} if headers is None else headers
        return self.engine.handle(method, path, query, signed, body)

    def post(self, fields: object, path: str = EXTEND) -> Reply:
        return self.call("POST", path, body=json.dumps(fields).encode())

    def extend(self, video_id: str = SOURCE, **fields: object) -> Reply:
        return self.post({"video_id": video_id, **fields})

    def shoot(self, **fields: object) -> Reply:
        return self.post({**SHOT, **fields}, OMNI)

    def made(self, video_id: str = SOURCE, **fields: object) -> str:
        """The id of a new task."""
        return str(data(self.extend(video_id, **fields))["task_id"])

    def get(self, id: str, path: str = EXTEND) -> Reply:
        return self.call("GET", f"{path}/{id}")

    def task(self, id: str, path: str = EXTEND) -> Any:
        return data(self.get(id, path))

    def listing(self, query: str = "", path: str = EXTEND) -> Reply:
        return self.call("GET", path, query)

    def ids(self, query: str = "", path: str = EXTEND) -> list[str]:
        return [record["task_id"] for record in data(self.listing(query, path))]

    def costs(self, query: str = "start_time=1&end_time=2") -> Reply:
        return self.call("GET", "/account/costs", query)

    def pack(self) -> Any:
        self.clock.now += 1
        [pack] = data(self.costs())["resource_pack_subscribe_infos"]
        return pack

    def finished(self, id: str) -> Any:
        """The task's record once it has ended."""
        self.clock.now += 60
        return self.task(id)

    def video(self, id: str) -> Any:
        """The video that the task made."""
        [video] = self.finished(id)["task_result"]["videos"]
        return video


def data(reply: Reply) -> Any:
    assert reply.json()["code"] == 0, reply.body
    return reply.json()["data"]


def verdict(reply: Reply) -> tuple[int, Any]:
    """HTTP status and vendor code."""
    return reply.status, reply.json()["code"]


def message(reply: Reply) -> str:
    return str(reply.json()["message"])
