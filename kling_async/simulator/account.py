"""One account at the simulated vendor: its keys, its tasks and videos, and what a test asks and arranges of them."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from attrs import evolve, frozen

from kling_async.simulator import files, media, records
from kling_async.simulator.auth import Keys
from kling_async.simulator.faults import Fault, Script
from kling_async.simulator.ledger import DAY, Change, Ledger, Task, Video
from kling_async.simulator.routes import FILE_SUFFIX, FILES_PATH
from kling_async.simulator.wire import JSON
from kling_async.spec import MODELS, TABLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ACCESS_KEY: Final = "simulated-access-key"
SECRET_KEY: Final = "simulated-secret-key-of-at-least-32-characters"  # noqa: S105 -- opens nothing but this
API_KEY: Final = "simulated-api-key"
WEBHOOK_SECRET: Final = "whsec_c2ltdWxhdGVkLXdlYmhvb2stc2VjcmV0LW9mLTMyLWI="  # noqa: S105 -- likewise
"""For simulators that sign; none does so unasked."""

# The specification's own example extends this one, so that it can be pasted as it stands.
EXAMPLE_SOURCE: Final = "original-video-id"

PLENTY: Final = Decimal(1_000_000_000)


@frozen
class Accepted:
    """A create that the vendor took: the task it made, and the JSON members as they were sent."""

    task_id: str
    external_task_id: str | None
    family: str
    fields: Mapping[str, JSON]
    at: float


class Account:
    """One account at the simulated vendor.

    Args:
        clock: Unix seconds. Everything moves by it: tokens, tasks, ages, the `Date` of each answer.
        rng: where ids and the length of each extension come from; a seeded one makes a run repeatable.
        lenient: take `negative_prompt` and `cfg_scale` on an extension and ignore them, as the live service
            seems to do; by default they are refused, as the specification says.
        slots: how many tasks may be in flight at once, `None` for any number. May be set later.
        units: what the resource pack holds, `None` for more than anybody uses.
        task_seconds: from create to the end of a task, in seconds, or a function of the task.
        submitted_seconds: how much of that it is `submitted` before it is `processing`.
        film: makes the bytes of a result file from the seconds of its parts.

    Attributes:
        keys: what the account signs in with. More may be added.
        accepted: every create that was taken, in order: what was really made.
        requests: how many calls came in, by name and family; `count` sums them.
        refused: how many creates the rules refused, by code; scripted faults are not among them.
        base_url: what the URLs of result files begin with; the server sets it.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        rng: Random | None = None,
        lenient: bool = False,
        slots: int | None = None,
        units: int | Decimal | None = None,
        task_seconds: float | Callable[[Task], float] = 2.0,
        submitted_seconds: float = 0.5,
        film: Callable[[Sequence[Decimal]], bytes] = media.film,
    ) -> None:
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 -- ids of a simulator are no secrets
        self._last_id = self._rng.randrange(8 * 10**17, 9 * 10**17)
        self._file_of = lru_cache(16)(lambda segments: files.File.of(film(segments)))
        self._lenient = lenient
        self._task_seconds = task_seconds
        self._submitted_seconds = submitted_seconds
        self._opened_at = clock()
        self._costs_asked_at: float | None = None
        self._failures: list[str] = []
        self._script = Script()
        self._ledger = Ledger(PLENTY if units is None else Decimal(units))
        self.slots = slots
        self.keys = Keys({ACCESS_KEY: SECRET_KEY}, {API_KEY})
        self.accepted: list[Accepted] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[int] = Counter()
        self.base_url = ""
        self.sources = tuple(self._ready_sources())

    @property
    def in_flight(self) -> int:
        """How many tasks hold a slot now."""
        return self._settled(self._clock()).in_flight

    @property
    def peak_in_flight(self) -> int:
        """The highest number of tasks that ever held a slot at once."""
        return self._ledger.peak

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every change of a task's status so far, in order."""
        return tuple(self._settled(self._clock()).changes)

    @property
    def now(self) -> float:
        """Unix seconds by the engine's clock."""
        return self._clock()

    @property
    def next_change_at(self) -> float:
        """When a task will take its next status, in Unix seconds; infinite when none will."""
        return self._ledger.next_change_at

    def news(self, place: int) -> Iterator[tuple[str, dict[str, JSON]]]:
        """Where to post each change behind the first `place` changes, empty for nowhere, and the record as of then."""
        for change in self._settled(self._clock()).changes[place:]:
            task = self._ledger.tasks[change.task_id]
            then = evolve(task, status=change.status, updated_at=change.at)
            yield task.order.callback_url or "", self._record(then)

    def wants_callbacks(self, id: str) -> bool:
        """Whether the task was ordered with a `callback_url`."""
        return self._ledger.tasks[id].order.callback_url is not None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The scripted faults that have not struck yet."""
        return self._script.left

    def count(self, name: str, *, family: str | None = None) -> int:
        """How many calls came in with this name (`create`, `get`, `list`, `costs`, `file`, `unknown`)."""
        return sum(n for (of, kin), n in self.requests.items() if of == name and family in {None, kin})

    def script(self, *faults: Fault) -> None:
        """Make the next answers go wrong, behind what is already scripted."""
        for fault in faults:
            if not isinstance(fault, Fault):  # said here: struck later, it would look like a vendor in trouble
                raise TypeError(f"{type(fault).__name__} is no Fault; make one by Fault.code(...), Fault.reset() ...")
        self._script.add(*faults)

    def clear_faults(self) -> None:
        """Let everything go well from now on."""
        self._script.clear()

    def fail_next(self, times: int = 1, *, message: str = "The generation failed") -> None:
        """Let the next tasks that are created end as `failed`, with this as `task_status_msg`."""
        self._failures.extend([message] * times)

    def fail_task(self, id: str, *, message: str = "The generation failed") -> None:
        """Let a task in flight end as `failed`, by its own id or the caller's.

        Raises:
            LookupError: there is no such task, or it has ended.
        """
        ledger = self._settled(self._clock())
        task = ledger.tasks.get(id) or ledger.by_external_id.get(id)
        if task is None or task.is_over:
            raise LookupError(f"no task in flight has the id {id}")
        task.failure = message

    def add_source(
        self,
        *,
        duration: float | Decimal | str = "5.0",
        model: str = MODELS[0],
        age_days: float = 0.0,
        id: str | None = None,
    ) -> str:
        """The id of a new source video of so many seconds, made by `model` so many days ago."""
        seconds = Decimal(str(duration))
        if not 0 < seconds <= media.LONGEST_SECONDS:
            raise ValueError(f"duration={duration!r}: expected up to {media.LONGEST_SECONDS} seconds")
        video = Video(id or self._new_id(), model, self._clock() - age_days * DAY, (seconds,))
        self._ledger.videos[video.id] = video
        return video.id

    # Bricks.

    def _ready_sources(self) -> Iterator[str]:
        """Clips of both lengths by each model of the specification's table, behind the one of its example."""
        yield self.add_source(id=EXAMPLE_SOURCE)
        for model in MODELS:
            for seconds in TABLE_SECONDS:
                yield self.add_source(duration=f"{seconds}.0", model=model, id=f"source-{model}-{seconds}s")

    def _settled(self, now: float) -> Ledger:
        self._ledger.settle(now)
        return self._ledger

    def _record(self, task: Task) -> dict[str, JSON]:
        return records.task_record(task, self._url_of)

    def _url_of(self, video: Video) -> str:
        return f"{self.base_url}{FILES_PATH}{quote(video.id, safe='')}{FILE_SUFFIX}"

    def _new_id(self) -> str:
        """18 digits, as seen on the wire: beyond 2^53, growing, and never given twice."""
        self._last_id += self._rng.randrange(1, 1000)
        return str(self._last_id)
