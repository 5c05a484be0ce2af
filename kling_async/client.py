"""The client: puts the parts together, and owns only what it built."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kling_async import spec
from kling_async.account import Account
from kling_async.checks import base_address, origin_of, refusal
from kling_async.credentials import AccessKey, ApiKey, Credentials, Signer, credentials_from
from kling_async.errors import ConfigurationError
from kling_async.events import OnEvent
from kling_async.extensions import VideoExtend
from kling_async.films import Films
from kling_async.omni import OmniVideo
from kling_async.policies import DEFAULT_WAIT_SECONDS, DownloadPolicy, PollPolicy, PoolLimits, RetryPolicy, SlotPolicy
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.rules.signatures import hidden
from kling_async.rules.slots import limit_of
from kling_async.runtime.batch import Batch
from kling_async.runtime.callback_store import AnyCallbackStore
from kling_async.runtime.callbacks import Callbacks
from kling_async.runtime.carry import AnyJournal, Carrier, Kind, Step
from kling_async.runtime.download import Downloader
from kling_async.runtime.hook import Hook
from kling_async.runtime.journal import Journal
from kling_async.runtime.network import Network
from kling_async.runtime.pool import SessionPool
from kling_async.runtime.questions import Ear
from kling_async.runtime.tracing import Tracing
from kling_async.runtime.transport import Transport

if TYPE_CHECKING:
    from kling_async.simulator import Simulator


def _new_id() -> str:
    return f"kling-async-{uuid.uuid4().hex}"


class KlingClient(Films):
    """The Kling API for one account, in one process.

    Nothing is done at construction: build it outside of a loop, use it in two `asyncio.run`s, one after the other.
    Leave it by `async with`, or await `close()`.

    Args:
        credentials: `ApiKey(...)` or `AccessKey(...)`; `None` reads `KLING_API_KEY`, or `KLING_ACCESS_KEY` and
            `KLING_SECRET_KEY`, from the environment.
        base_url: the API's address; `None` reads `KLING_BASE_URL`, and takes the vendor's default host
            (`https://api-singapore.klingai.com`) if that is not set.
        retry: how reads are repeated.
        polling: how awaited tasks are looked after.
        pool: how many requests may be under way at once.
        network: proxies, certificates, and aiohttp's parts of your own; default: none of them.
        slots: how creates wait for the account's slots.
        downloads: how films are fetched.
        webhook_secrets: of the account's callbacks, as the console shows them; several while one rotates. Default none:
            then a callback proves nothing, and only causes a query.
        on_event: a plain function that is called with everything that happens (see `kling_async.events`), in the event
            loop and at the very moment; default `None`. It should be quick. What it raises is logged, and harms nobody.
        tracing: makes spans of requests, such as `kling_async.otel.Tracing()`; default `None`.
        callback_store: passes callbacks on between workers, such as `CallbackStore("callbacks.sqlite3")`; default
            `None`: each worker hears what itself receives.
        wall: Unix seconds, for tokens, callbacks and the age of films.
        draw: random numbers from 0 to 1, for pauses between attempts.
        new_id: makes the external id of a create that was given none.

    Attributes:
        video_extend: extensions of videos.
        omni_video: the Omni-Video alternative.
        account: what the account has bought.
        callbacks: takes in what the vendor posts to your `callback_url`.

    Raises:
        ConfigurationError: no credentials, a base URL that is none, a webhook secret that is none, or an `on_event`
            that is no plain function.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        base_url: str | None = None,
        retry: RetryPolicy = RetryPolicy(),
        polling: PollPolicy = PollPolicy(),
        pool: PoolLimits = PoolLimits(),
        slots: SlotPolicy = SlotPolicy(),
        downloads: DownloadPolicy = DownloadPolicy(),
        network: Network = Network(),
        webhook_secrets: Sequence[str] = (),
        callback_store: AnyCallbackStore | None = None,
        on_event: OnEvent | None = None,
        tracing: Tracing | None = None,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        try:
            webhook_secrets = hidden(webhook_secrets)  # first: what fails below is told with all that stands here
        except ConfigurationError as error:
            del webhook_secrets
            raise error.with_traceback(None) from None
        for name, policy, kind in (
            ("retry", retry, RetryPolicy), ("polling", polling, PollPolicy), ("pool", pool, PoolLimits),
            ("slots", slots, SlotPolicy), ("downloads", downloads, DownloadPolicy), ("network", network, Network),
        ):  # fmt: skip
            if not isinstance(policy, kind):
                raise refusal(name, policy, f"a {kind.__name__}", error=ConfigurationError)
        if credentials is None:
            credentials = credentials_from(os.environ)
        if not isinstance(credentials, ApiKey | AccessKey):
            raise ConfigurationError(f"credentials: {type(credentials).__name__} is neither ApiKey nor AccessKey")
        url = base_address(base_url or os.environ.get("KLING_BASE_URL", "").strip() or spec.BASE_URL)
        hook = None if on_event is None else Hook(on_event, wall=wall)
        self._pool = SessionPool(pool, network, proxy=network.proxy_for(url))
        self._transport = Transport(url, self._pool, Signer(credentials), retry, wall, draw, hook, tracing)
        self._downloader = Downloader(self._pool, origin_of(url), downloads, retry, wall, draw, hook, tracing)
        self._simulator: Simulator | None = None
        self._started_simulator = False
        self.account = Account(self._transport)
        limit = self._read_limit
        self.video_extend = VideoExtend(
            self._transport, spec.VIDEO_EXTEND_PATH, polling=polling, slots=slots, new_id=new_id, read_limit=limit
        )
        self.omni_video = OmniVideo(
            self._transport, spec.OMNI_VIDEO_PATH, polling=polling, slots=slots, new_id=new_id, read_limit=limit
        )
        self.callbacks = Callbacks(
            self._transport,
            [Ear(one.kind.submitter.path, one.kind.waiter) for one in (self.video_extend, self.omni_video)],
            secrets=webhook_secrets,
            spacing=polling.interval,
            store=callback_store,
        )

    @classmethod
    def simulated(
        cls,
        simulator: Simulator | None = None,
        *,
        retry: RetryPolicy = RetryPolicy(ask_after=(0.0, 0.1, 0.5)),
        polling: PollPolicy = PollPolicy(interval=0.25),
        pool: PoolLimits = PoolLimits(),
        slots: SlotPolicy = SlotPolicy(),
        downloads: DownloadPolicy = DownloadPolicy(),
        on_event: OnEvent | None = None,
        tracing: Tracing | None = None,
    ) -> Self:
        """A client of the embedded simulator, on loopback and by its clock: no account, no money, no network.

        Use it by `async with`, which starts the simulator and stops it again (one that runs already is left so).
        Before and after, while the simulator does not run, every call raises `ConfigurationError`.

        Args:
            simulator: one of yours, with its own options; `None` makes one whose tasks take two seconds, and whose
                callbacks are signed.
            retry: default: as for any client, but a create whose answer was lost is asked for within half a second.
            polling: default: every quarter of a second.
            pool: as for any client.
            slots: as for any client.
            downloads: as for any client.
            on_event: as for any client.
            tracing: as for any client.
        """
        from kling_async.simulator import Simulator  # noqa: PLC0415 - the tower is climbed only when asked for

        simulator = simulator or Simulator(webhook_secret=Simulator.webhook_secret)
        client = cls(
            ApiKey(simulator.api_key),
            base_url="http://127.0.0.1",
            retry=retry,
            polling=polling,
            pool=pool,
            slots=slots,
            webhook_secrets=simulator.webhook_secrets,
            downloads=downloads,
            wall=lambda: simulator.engine.now,
            on_event=on_event,
            tracing=tracing,
        )
        client._simulator = simulator
        client._aim(simulator.url if simulator.running else "")
        return client

    @property
    def base_url(self) -> str:
        """Where calls go to; empty for a simulated client whose simulator does not run."""
        return self._transport.base_url

    @property
    def simulator(self) -> Simulator:
        """The simulator behind a `simulated` client.

        Raises:
            ConfigurationError: this client talks to a real host.
        """
        if self._simulator is None:
            raise ConfigurationError("this client has no simulator; KlingClient.simulated() has")
        return self._simulator

    async def _read_limit(self) -> int | None:
        now = datetime.fromtimestamp(self._transport.wall(), UTC)
        return limit_of(await self.account.costs(now - timedelta(days=spec.KEPT_DAYS), now))

    def batch(
        self,
        journal: str | os.PathLike[str],
        *,
        out: str | os.PathLike[str] | None = None,
        timeout: float | None = DEFAULT_WAIT_SECONDS,
        retry_failed: bool = False,
        on_step: Callable[[str, Step], None] | None = None,
    ) -> Batch:
        """A batch whose jobs are carried through once each, over crashes, reruns and second processes.

        Use it by `async with`; then `async for outcome in batch.run({key: request, ...})`.

        Args:
            journal: the SQLite file that remembers the jobs; made where there is none. It holds the requests, prompts
                included, and no secret.
            out: a folder for the films, one a job, named by its key; `None` saves none.
            timeout: seconds to wait for each task from its create on, default 1,800; `None` waits for ever. What has
                not ended by then comes as an outcome with `WaitTimeout`, and a rerun goes on.
            retry_failed: whether jobs whose task failed before are made (and paid) anew, under a new external id.
            on_step: called with a job's key and the step it has reached: `leased`, `intent` (on disk before anything is
                sent), `accepted`, `ended`, `saved`.
        """
        return Batch(
            Journal(journal, self._transport.wall),
            self._kinds(),
            downloader=self._downloader,
            out=None if out is None else Path(out),
            timeout=timeout,
            retry_failed=retry_failed,
            on_step=on_step,
        )

    def carrier(
        self,
        journal: AnyJournal,
        *,
        out: Path | None,
        timeout: float | None,
        on_step: Callable[[str, Step], None] | None,
    ) -> Carrier:
        """What carries out single jobs for a journal of another kind than a batch's; the rest is as for `batch`."""
        return Carrier(journal, self._kinds(), self._downloader, out=out, timeout=timeout, on_step=on_step)

    def _kinds(self) -> dict[str, Kind]:
        return {
            VideoExtendRequest.__name__: self.video_extend.kind,
            OmniVideoRequest.__name__: self.omni_video.kind,
        }

    async def __aenter__(self) -> Self:
        if self._simulator is not None:
            if not self._simulator.running:
                await self._simulator.start()
                self._started_simulator = True
                self._transport.loop = asyncio.get_running_loop()
            self._aim(self._simulator.url)
        await self.callbacks.open()
        return self

    def _aim(self, url: str) -> None:
        self._transport.base_url = self._downloader.home = url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops polling and closes all connections. A second call does nothing; the client can be used again."""
        # Last in, first out; a cancellation on the way does not keep the rest from being closed.
        async with AsyncExitStack() as stack:
            if self._simulator is not None and self._started_simulator:
                self._started_simulator, self._transport.loop = False, None
                self._aim("")
                stack.push_async_callback(self._simulator.stop)
            stack.push_async_callback(self._pool.close)
            stack.push_async_callback(self.omni_video.close)
            stack.push_async_callback(self.video_extend.close)
            stack.push_async_callback(self.callbacks.close)

    def __repr__(self) -> str:
        if not hasattr(self, "callbacks"):
            return "<KlingClient that was never finished>"  # a traceback with locals shows it so
        host = self._transport.host or "not started"
        return f"<KlingClient {host}, {self.video_extend!r}, {self.omni_video!r}, {self._pool!r}>"
