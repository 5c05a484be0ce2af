"""Takes callbacks in: what the vendor signed goes straight to whoever waits, anything else is a hint to go and ask."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, TypeVar

import attrs

from kling_async import spec
from kling_async.errors import ConfigurationError, WebhookError
from kling_async.events import CallbackOutcome
from kling_async.models import Task, TaskStatus
from kling_async.rules.callbacks import REFUSED, TAKEN, TRY_LATER, Alarm, Answer, Memory, Verdict, refused_unread
from kling_async.rules.signatures import Callback, Verifier, as_bytes
from kling_async.rules.wire.callbacks import read_callback
from kling_async.runtime.handlers import Handler, Handlers
from kling_async.runtime.questions import Ear, Questions, Settle
from kling_async.runtime.receivers import CallbackApp, answered
from kling_async.runtime.transport import Transport

if TYPE_CHECKING:
    from aiohttp import web

    from kling_async.runtime.callback_store import AnyCallbackStore

_log = logging.getLogger("kling_async")

_STORE_SECONDS = 5.0  # the vendor waits for our answer meanwhile
_STORE_AGAIN_SECONDS = 1.0
_ID_LETTERS = 64  # of the vendor's ids, which have 18 digits (observed)

_Handler = TypeVar("_Handler", bound=Handler)


@attrs.define(eq=False)
class _Here:
    """What belongs to one event loop.

    Attributes:
        questions: asked because of hints.
        listener: hears what other workers received.
    """

    loop: asyncio.AbstractEventLoop
    questions: Questions
    listener: asyncio.Task[None] | None = None


class Callbacks:
    """The callbacks of a client: give each one that arrives to `receive`, or mount one of the receivers.

    A callback that the vendor signed ends the `wait` for its task at once. Without a secret there is no telling who
    posted it; then it only causes a query of our own, and that decides.
    """

    def __init__(
        self,
        transport: Transport,
        ears: Sequence[Ear],
        *,
        secrets: Sequence[str],
        spacing: float,
        store: AnyCallbackStore | None = None,
    ) -> None:
        self._transport = transport
        self._ears = ears
        self._verifier = Verifier(secrets)
        self._spacing = spacing
        self._store = store
        self._memory = Memory()
        self._handlers = Handlers()
        self._refusals, self._faults = Alarm(), Alarm()
        self._here: _Here | None = None
        self.counts: Counter[str] = Counter()
        if store is not None and not self._verifier.has_secret:
            raise ConfigurationError("callback_store: needs webhook_secrets; what nobody signed is not passed on")

    def __repr__(self) -> str:
        kind = "signed" if self._verifier.has_secret else "unsigned"
        counts = "".join(f", {count} {name}" for name, count in sorted(self.counts.items()))
        return f"<Callbacks {kind}{counts}>"

    # --- for users -------------------------------------------------------------------------------------------------

    @property
    def asgi(self) -> CallbackApp:
        """An ASGI application, for a route of FastAPI, Starlette and the like."""
        # Made anew: a circle would keep a client that nobody closed from being noticed.
        return CallbackApp(self.receive)

    def verify(self, body: bytes, headers: Mapping[str, str]) -> Task:
        """The task of a callback, if the vendor signed it within the last 5 minutes. Nothing else is done with it.

        Args:
            body: as it came, byte for byte.
            headers: with names in any case.

        Raises:
            WebhookError: it is not the vendor's, or cannot be read, or no secret is set. Nothing else is raised.
        """
        return self._verifier.verify(body, headers, self._transport.wall()).task

    async def receive(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """What to answer; the callback has been taken in by then, and handlers begin later.

        Args:
            body: as it came, byte for byte. What is larger than 256 KiB is refused; better not to read it at all.
            headers: with names in any case.

        Returns:
            Status 200 for what was taken in or is known already, 401 for what is not the vendor's, 413 and 415 for what
            is too large or no JSON, 503 where the `callback_store` failed. Bad input raises nothing.

        Raises:
            ConfigurationError: the client is in use by another event loop.
        """
        self._transport.claim()
        self._see_to_listener()
        try:
            body = as_bytes(body)
            if (refusal := refused_unread(headers, length=len(body))) is not None:
                self.counts["refused"] += 1
                self._tell("refused", why=refusal.body.decode().strip())
                return refusal
            if not self._verifier.has_secret:
                return self._take_hint(read_callback(body))
            callback = self._verifier.verify(body, headers, self._transport.wall())
        except WebhookError as error:
            return self._refuse(error)
        return await self._take(callback, body)

    async def aiohttp_handler(self, request: web.Request) -> web.Response:
        """A handler for a route of aiohttp.web: `app.router.add_post("/kling", kling.callbacks.aiohttp_handler)`."""
        return await answered(request, self.receive)

    def on_task(self, handler: _Handler) -> _Handler:
        """Calls the handler with each task that callbacks show in a new status; usable as a decorator.

        It runs after the vendor was answered: a coroutine function in the loop, a plain one in a thread. For one task
        one call comes after the other. What it raises is logged, and harms nobody else.

        Args:
            handler: takes a `Task`. It is called in the process where the callback landed, for all tasks of the
                account, and after a restart perhaps once more: it should bear that.
        """
        self._handlers.add(handler)
        return handler

    # --- what came -------------------------------------------------------------------------------------------------

    def _refuse(self, error: WebhookError) -> Answer:
        self.counts["refused"] += 1
        if times := self._refusals.rings(self._now()):
            _log.warning("callbacks refused: %d, the last one because: %s", times, error)
        self._tell("refused", why=error.message)
        return REFUSED

    def _tell(self, outcome: CallbackOutcome, task: Task | None = None, *, why: str = "") -> None:
        if (hook := self._transport.hook) is not None:
            hook.callback_received(outcome, task, why=why)

    async def _take(self, callback: Callback, body: bytes) -> Answer:
        if not self._memory.note(callback.id, self._transport.wall(), sent_at=callback.sent_at):
            self.counts["repeated"] += 1
            self._tell("repeated", callback.task)
            return TAKEN
        try:
            is_new = self._store is None or await self._kept(self._store, callback, body)
        except Exception as error:  # of a store that anybody may have written
            self._memory.forget(callback.id)
            self._hear(callback.task)  # whoever waits here need not suffer
            self._store_failed(error)
            self._tell("not stored", callback.task)
            return TRY_LATER
        except BaseException:  # whoever posted it has hung up, and will not know that it was taken
            self._memory.forget(callback.id)
            raise
        # What is not new was told to handlers by its first receiver; the store tells it to us.
        self.counts["accepted" if is_new else "repeated"] += 1
        outcome = self._take_in(callback.task, self._handlers.tell) if is_new else "repeated"
        self._tell(outcome, callback.task)
        return TAKEN

    @staticmethod
    async def _kept(store: AnyCallbackStore, callback: Callback, body: bytes) -> bool:
        async with asyncio.timeout(_STORE_SECONDS):
            return await store.add(callback.id, body)

    def _take_in(self, task: Task, tell: Callable[[Task], None]) -> CallbackOutcome:
        """Lets whoever waits hear of a verified task, and `tell` of what is new in it."""
        if task.status is TaskStatus.SUCCEED and not task.videos:
            self._hear(task)
            self._ask_for_video(task, tell)
            return "accepted"
        verdict = self._memory.judge(task)
        if verdict is Verdict.CONFLICT:
            self.counts["in conflict"] += 1
            self._ask_soon(task.id, self._ears, self._settle_conflict)
            return "conflict"
        self._hear(task)
        if verdict is Verdict.NEWS:
            tell(task)
        return "accepted"

    def _ask_for_video(self, task: Task, tell: Callable[[Task], None]) -> None:
        """A success without its film is worth a query: in the newer shape, outputs may be left out (document-api)."""

        def settle(_: str, asked: Task) -> None:
            self._hear(asked)
            if self._memory.judge(asked) is Verdict.NEWS:
                tell(asked)

        awaited_as, ear = self._awaited(task) or (task.id, None)
        self._ask_soon(awaited_as, self._ears if ear is None else [ear], settle, limited=False)

    def _hear(self, task: Task) -> None:
        if (found := self._awaited(task)) is not None:
            found[1].waiter.hear(task)
            return
        # The body does not say of which kind it is: it is kept for both.
        self.counts["not awaited"] += 1
        for ear in self._ears:
            ear.waiter.hear(task)

    def _awaited(self, task: Task) -> tuple[str, Ear] | None:
        """By which id the task is awaited here and where, `None` when nobody waits for it."""
        for ear in self._ears:
            for key in (task.id, task.external_task_id):
                if key is not None and ear.waiter.awaits(key):
                    return key, ear
        return None

    def _settle_conflict(self, _: str, task: Task) -> None:
        _log.warning("callbacks told two different ends of task %s; asked for, it is %s", task.id, task.status)
        self._hear(task)

    # --- hints -----------------------------------------------------------------------------------------------------

    def _take_hint(self, hint: Task) -> Answer:
        self.counts["hints"] += 1
        if (found := self._awaited(hint)) is not None:
            awaited_as, ear = found
            self._ask_soon(awaited_as, [ear], self._settle_hint, limited=False)
        elif hint.id.isascii() and hint.id.isalnum() and len(hint.id) <= _ID_LETTERS:
            self._ask_soon(hint.id, self._ears, self._settle_hint)
        else:
            self.counts["hints without a query"] += 1
        self._tell("hint")
        return TAKEN

    def _ask_soon(self, id: str, ears: Sequence[Ear], settle: Settle, *, limited: bool = True) -> None:
        if not self._here_and_now().questions.ask_soon(id, ears, settle, limited=limited):
            self.counts["hints without a query"] += 1

    def _settle_hint(self, path: str, task: Task) -> None:
        # Absorbed, not heard: posts that anybody may have sent must not make polling rarer.
        for ear in self._ears:
            if ear.path == path:
                ear.waiter.absorb([task])
        if self._memory.judge(task) is Verdict.NEWS:
            self._handlers.tell(task)

    # --- what other workers received ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begins to hear what other workers put into the store; a client entered by `async with` does so itself."""
        self._see_to_listener()

    def _see_to_listener(self) -> None:
        if self._store is None:
            return
        here = self._here_and_now()
        if here.listener is None or here.listener.done():
            name, context = "kling_async listener for callbacks", Context()  # as for the poller
            here.listener = here.loop.create_task(self._listen(self._store), name=name, context=context)

    async def _listen(self, store: AnyCallbackStore) -> None:
        place = ""
        while True:
            try:
                place, news = await store.news(place)
            except Exception as error:  # as above
                self._store_failed(error)
                await asyncio.sleep(_STORE_AGAIN_SECONDS)
                continue
            for delivery, body in news:
                self._overhear(delivery, body)

    def _overhear(self, delivery: str, body: bytes) -> None:
        now = self._transport.wall()
        # When it was sent is not passed on; at the latest, it was sent as far in the future as the signature allows.
        if not self._memory.note(delivery, now, sent_at=now + spec.WEBHOOK_TOLERANCE_SECONDS):
            return
        try:
            task = read_callback(body)
        except WebhookError as error:
            self._store_failed(error)
        else:
            self.counts["overheard"] += 1
            # Handlers heard of it where it landed; and who waits for it nowhere here need not ask for its film.
            if self._awaited(task) is not None or task.videos or task.status is not TaskStatus.SUCCEED:
                self._take_in(task, lambda _: None)

    def _store_failed(self, error: Exception) -> None:
        self.counts["failures of the store"] += 1
        if times := self._faults.rings(self._now()):
            told = type(error).__name__
            _log.warning("the store of callbacks failed (%d times, %s: %s); polling goes on", times, told, error)

    # --- loops -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _here_and_now(self) -> _Here:
        """What belongs to the running loop; what an earlier one left behind went with it."""
        loop = asyncio.get_running_loop()
        if self._here is None or self._here.loop is not loop:
            self._here = _Here(loop, Questions(self._transport, self._spacing))
            self._refusals, self._faults = Alarm(), Alarm()
        return self._here

    async def close(self) -> None:
        """Ends queries; handlers that are at work may come to their end, within 10 s."""
        here, self._here = self._here, None
        ours = set[asyncio.Task[None]]()
        if here is not None and here.loop is asyncio.get_running_loop():
            ours = {*here.questions.under_way, *filter(None, [here.listener])}
        for task in ours:
            task.cancel()
        await self._handlers.close()
        if ours:
            await asyncio.wait(ours)
        if self._store is not None:
            await self._store.close()
