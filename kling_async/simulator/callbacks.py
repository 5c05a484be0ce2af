"""Callbacks as the vendor posts them at each change of a task's status, and what may go wrong with them by script."""

from __future__ import annotations

import asyncio
import base64
import heapq
import hmac
import logging
import secrets
from contextlib import suppress
from hashlib import sha256
from ipaddress import ip_address
from math import isinf
from random import Random
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout
from attrs import Attribute, evolve, field, frozen

from kling_async.simulator.wire import dump
from kling_async.spec import (
    STATUS_FAILED,
    STATUS_SUCCEED,
    STATUS_SUCCEEDED,
    WEBHOOK_ID,
    WEBHOOK_SECRET_MIN_BYTES,
    WEBHOOK_SECRET_PREFIX,
    WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP,
    WEBHOOK_VERSION,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kling_async.simulator.engine import Engine
    from kling_async.simulator.wire import JSON

logger = logging.getLogger(__name__)

WRONG_SECRET: Final = WEBHOOK_SECRET_PREFIX + base64.b64encode(b"nobody's secret, of 32 letters!!").decode()

_POST_SECONDS: Final = 10.0  # assumed: how long the vendor waits for an answer
_SHORTEST_SLEEP: Final = 0.001  # so that a rounded clock is never asked in a circle

Kind = Literal["true", "forged", "corrupted"]


def _is_part(delivery: Delivery, attribute: Attribute[float], value: float) -> None:
    del delivery
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name}={value!r}: expected a part from 0 to 1")


@frozen(kw_only=True)
class Delivery:
    """How callbacks are delivered. Without arguments: each once, at once and unharmed.

    The vendor's own rule for repetitions is not documented: what nobody answered is not sent again.

    Attributes:
        lose: what part of them never leaves, 0 to 1.
        copies: how often each is sent.
        fresh_ids: whether each copy has an id of its own, default false: a repetition has that of the first.
        delay: seconds that each is late.
        shuffle: seconds over which copies are scattered by chance, so that they overtake each other.
        forge: for what part of them somebody else posts the opposite end of the task, signed with another secret, or
            not at all where the vendor does not sign.
        corrupt: what part of them is changed behind its signature.
        shape: of the body: `legacy` (as queries answer) or `newer`.
        seed: of all chance.
    """

    lose: float = field(default=0.0, validator=_is_part)
    copies: int = 1
    fresh_ids: bool = False
    delay: float = 0.0
    shuffle: float = 0.0
    forge: float = field(default=0.0, validator=_is_part)
    corrupt: float = field(default=0.0, validator=_is_part)
    shape: Literal["legacy", "newer"] = "legacy"
    seed: int = 0


@frozen(order=True)
class Post:
    """One callback on its way: when it leaves (Unix seconds), where to, and its body before anything happens to it."""

    due: float
    number: int
    url: str = field(order=False)
    id: str = field(order=False)
    record: dict[str, JSON] = field(order=False, repr=False)
    shape: str = field(order=False, default="legacy")
    kind: Kind = field(order=False, default="true")

    @property
    def body(self) -> bytes:
        """The body as the vendor writes it."""
        return dump(newer(self.record) if self.shape == "newer" else self.record)


@frozen
class Posted:
    """A callback that was sent.

    Attributes:
        at: Unix seconds.
        id: the `webhook-id`.
        status: what it told of the task, in the words of queries.
        kind: `true`, `forged` or `corrupted`.
        answer: the HTTP status, `None` when there was none, or the URL is not on this machine.
    """

    at: float
    task_id: str
    id: str
    status: str
    kind: Kind
    answer: int | None


def newer(record: dict[str, JSON]) -> dict[str, JSON]:
    """The record in the newer shape. Source: document-api, "Callbacks"; what stands in `billing` is not documented."""
    info = cast("dict[str, JSON]", record["task_info"])
    result = cast("dict[str, list[dict[str, JSON]]]", record.get("task_result", {}))
    status = record["task_status"]
    return {
        "id": record["task_id"],
        "status": STATUS_SUCCEEDED if status == STATUS_SUCCEED else status,
        "message": record.get("task_status_msg", ""),
        "create_time": record["created_at"],
        "update_time": record["updated_at"],
        "external_id": info.get("external_task_id", ""),
        "outputs": [{"type": "video", **video} for video in result.get("videos", [])],
        "billing": [],
    }


def key_of(secret: str) -> bytes:
    """The key that a secret stands for.

    Raises:
        ValueError: it is no base64 (whose padding may be left out), or so short that no client would take it.
    """
    bare = secret.removeprefix(WEBHOOK_SECRET_PREFIX).rstrip("=")
    key = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    if len(key) < WEBHOOK_SECRET_MIN_BYTES:
        raise ValueError(f"a webhook secret of less than {WEBHOOK_SECRET_MIN_BYTES} bytes")
    return key


def signed(id: str, at: float, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of a callback; without secrets it is not signed. Source: document-api, "Callbacks"."""
    headers = {"Content-Type": "application/json"}
    if secrets:
        content = f"{id}.{int(at)}.".encode() + body
        macs = [hmac.digest(key_of(secret), content, sha256) for secret in secrets]
        headers[WEBHOOK_ID], headers[WEBHOOK_TIMESTAMP] = id, str(int(at))
        headers[WEBHOOK_SIGNATURE] = " ".join(f"{WEBHOOK_VERSION},{base64.b64encode(mac).decode()}" for mac in macs)
    return headers


def is_near(url: str) -> bool:
    """Whether the URL's host is this machine by its own word: a simulator calls nobody else."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Sender:
    """Posts the changes of the engine's tasks to where they were ordered to, as far as that is this machine.

    Attributes:
        secrets: what they are signed with.
        delivery: what goes wrong with those that are written from now on.
        posted: what was sent.
    """

    def __init__(self, engine: Engine, secrets: str | Sequence[str], delivery: Delivery) -> None:
        self.secrets = (secrets,) if isinstance(secrets, str) else tuple(secrets)
        for secret in self.secrets:
            key_of(secret)
        self.posted: list[Posted] = []
        self._engine = engine
        self._seen = 0
        self._number = 0
        self._wanted = False
        self._waiting: list[Post] = []
        self._stirred = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self.delivery = delivery

    @property
    def delivery(self) -> Delivery:
        """What goes wrong from now on."""
        return self._delivery

    @delivery.setter
    def delivery(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._random = Random(delivery.seed)  # noqa: S311 -- the same run each time

    def stir(self) -> None:
        """Look: a task with a `callback_url` was made."""
        self._wanted = True
        self._stirred.set()
        self.start()

    def start(self) -> None:
        """Go on where it was, if there is anything to send."""
        if self._wanted and self._work is None:
            self._stirred = asyncio.Event()
            self._work = asyncio.create_task(self._send_all())

    async def stop(self) -> None:
        """Send nothing any more; what is under way is broken off."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await asyncio.wait([work])

    # What to send.

    def _write(self) -> None:
        """Turn what is new into posts."""
        for url, record in self._engine.news(self._seen):
            self._seen += 1
            if url:
                for post in self._posts(url, record):
                    heapq.heappush(self._waiting, post)

    def _posts(self, url: str, record: dict[str, JSON]) -> Iterator[Post]:
        script, chance = self._delivery, self._random.random
        at = cast("int", record["updated_at"]) / 1000 + script.delay
        if chance() < script.forge:
            yield self._post(at, url, _opposite(record), "forged")
        if chance() < script.lose:
            return
        first = self._new_id()
        for _ in range(script.copies):
            kind: Kind = "corrupted" if chance() < script.corrupt else "true"
            post = self._post(at + script.shuffle * chance(), url, record, kind)
            yield post if script.fresh_ids else evolve(post, id=first)

    def _post(self, due: float, url: str, record: dict[str, JSON], kind: Kind) -> Post:
        self._number += 1
        return Post(due, self._number, url, self._new_id(), record, self._delivery.shape, kind)

    @staticmethod
    def _new_id() -> str:
        # By no seed: who keeps the ids that it has seen must not take those of another run for repetitions.
        return str(10**9 + secrets.randbelow(9 * 10**9))

    # Sending.

    async def _send_all(self) -> None:
        under_way = set[asyncio.Task[None]]()
        async with ClientSession(timeout=ClientTimeout(total=_POST_SECONDS)) as session:
            try:
                while True:
                    self._stirred.clear()
                    self._write()
                    while self._waiting and self._waiting[0].due <= self._engine.now:
                        post = asyncio.create_task(self._send(session, heapq.heappop(self._waiting)))
                        under_way.add(post)
                        post.add_done_callback(under_way.discard)
                    await self._until_due()
            finally:
                for post in under_way:
                    post.cancel()
                if under_way:
                    await asyncio.wait(under_way)

    async def _until_due(self) -> None:
        due = min(self._engine.next_change_at, self._waiting[0].due if self._waiting else self._engine.next_change_at)
        pause = None if isinf(due) else max(_SHORTEST_SLEEP, due - self._engine.now)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stirred.wait(), pause)

    async def _send(self, session: ClientSession, post: Post) -> None:
        at, answer = self._engine.now, None
        if is_near(post.url):
            answer = await self._answer(session, post, at)
        else:
            logger.info("No callback is sent to %s: nothing leaves this machine", _bare(post.url))
        status, task_id = str(post.record["task_status"]), str(post.record["task_id"])
        self.posted.append(Posted(at, task_id, post.id, status, post.kind, answer))

    async def _answer(self, session: ClientSession, post: Post, at: float) -> int | None:
        body = post.body
        secrets = self.secrets if post.kind != "forged" else self.secrets and (WRONG_SECRET,)
        headers = signed(post.id, at, body, secrets)
        if post.kind == "corrupted":
            place = self._random.randrange(len(body))
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        try:
            async with session.post(post.url, data=body, headers=headers, allow_redirects=False) as response:
                if not response.ok:
                    logger.info("A callback to %s was answered %d", _bare(post.url), response.status)
                return response.status
        except (ClientError, OSError) as error:  # a TimeoutError is an OSError
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            logger.info("A callback to %s was not delivered: %s", _bare(post.url), why)
            return None


def _bare(url: str) -> str:
    return url.partition("?")[0]  # a token may stand behind


def _opposite(record: dict[str, JSON]) -> dict[str, JSON]:
    """What a forger would like to be believed."""
    failed = record["task_status"] == STATUS_FAILED
    return record | {"task_status": STATUS_SUCCEED if failed else STATUS_FAILED, "task_status_msg": "forged"}
