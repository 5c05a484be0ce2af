"""What can go wrong on the way, by script: pure data, and the reply that it makes of a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

from attrs import Attribute, define, evolve, field, frozen

from kling_async.simulator.routes import NAMES, Route
from kling_async.simulator.wire import Ending, Reply, dump

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from kling_async.simulator.wire import JSON

QUERY: Final = "query"  # get and list together: what a poller sends
GARBAGE: Final = b"THIS IS NOT HTTP\r\n\r\n"


class Where(TypedDict, total=False):
    """Which answers a fault strikes. Every maker of a `Fault` takes these.

    Keys:
        times: how many answers in a row (default 1), `None` for all until it is cleared.
        on: `create`, `get`, `list`, `query` (get and list), `costs`, `file`, `unknown`, or a method and the
            beginning of a path, as in `GET /v1/videos`. Left out: every call.
        family: `video-extend` or `omni-video`. Left out: both.
        delay: seconds to hold the answer back, beside all else (default 0).
    """

    times: int | None
    on: str | None
    family: str | None
    delay: float


def _is_target(fault: Fault, attribute: Attribute[str | None], value: str | None) -> None:
    del fault, attribute
    if value is not None and value not in (*NAMES, QUERY) and " /" not in value:
        raise ValueError(f"on={value!r}: expected one of {', '.join((*NAMES, QUERY))}, or 'METHOD /path'")


def _is_count(fault: Fault, attribute: Attribute[int], value: object) -> None:
    del fault
    if isinstance(value, int) and value < 1:
        raise ValueError(f"{attribute.name}={value!r}: expected 1 or more, or None for all until it is cleared")


@frozen(kw_only=True)
class Fault:
    """One thing that goes wrong. Made by the class methods; `after` says that the call was carried out first."""

    times: int | None = field(default=1, validator=_is_count)
    on: str | None = field(default=None, validator=_is_target)
    family: str | None = None
    delay: float = 0.0
    after: bool = False
    vendor_code: int | None = None
    message: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(factory=dict)
    content: bytes | None = field(default=None, repr=False)
    change: Callable[[dict[str, JSON]], JSON] | None = None
    pace: float = 0.0
    cut_at: int | None = None
    is_cut: bool = False
    is_length_kept: bool = True
    raw: bytes | None = None
    ending: Ending = Ending.KEEP

    @classmethod
    def code(
        cls,
        code: int,
        *,
        message: str | None = None,
        http_status: int | None = None,
        headers: Mapping[str, str] | None = None,
        after: bool = False,
        **where: Unpack[Where],
    ) -> Fault:
        """An envelope with this vendor code, by default with the table's status and meaning."""
        return cls(
            vendor_code=code,
            message=message,
            status=http_status,
            headers=headers or {},
            after=after,
            **where,
        )

    @classmethod
    def none(cls, **where: Unpack[Where]) -> Fault:
        """Nothing: lets so many calls pass before the fault scripted behind it has its turn."""
        return cls(after=True, **where)

    @classmethod
    def slow(cls, seconds: float, **where: Unpack[Where]) -> Fault:
        """The right answer, so many seconds late. The call is carried out at once."""
        return evolve(cls(after=True, **where), delay=seconds)

    @classmethod
    def trickle(cls, pace: float, **where: Unpack[Where]) -> Fault:
        """The right answer, its head at once and then so many seconds before each byte."""
        return cls(after=True, pace=pace, **where)

    @classmethod
    def reset(cls, *, after: bool = False, **where: Unpack[Where]) -> Fault:
        """A connection reset (RST) in place of the answer."""
        return cls(raw=b"", ending=Ending.RESET, after=after, **where)

    @classmethod
    def close(cls, *, after: bool = False, **where: Unpack[Where]) -> Fault:
        """A clean close (FIN) in place of the answer."""
        return cls(raw=b"", ending=Ending.CLOSE, after=after, **where)

    @classmethod
    def truncated(
        cls, at: int | None = None, *, complete: bool = False, reset: bool = False, **where: Unpack[Where]
    ) -> Fault:
        """The right head and the first `at` bytes of the body (half of it by default), then the end.

        With `complete` the length is that of what is sent: a whole answer, of half a JSON. Without, the
        connection is closed in the middle, or reset.
        """
        ending = Ending.RESET if reset else Ending.CLOSE
        return cls(is_cut=True, cut_at=at, is_length_kept=not complete, ending=ending, after=True, **where)

    @classmethod
    def body(
        cls,
        content: bytes,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        after: bool = False,
        **where: Unpack[Where],
    ) -> Fault:
        """Any bytes with any status, such as a compressed body with its `Content-Encoding`."""
        return cls(content=content, status=status, headers=headers or {}, after=after, **where)

    @classmethod
    def html(cls, status: int = 502, *, after: bool = False, **where: Unpack[Where]) -> Fault:
        """A gateway's HTML page with this status."""
        page = f"<html><body><h1>{status}</h1></body></html>".encode()
        kind = {"Content-Type": "text/html"}
        return cls(content=page, status=status, headers=kind, after=after, **where)

    @classmethod
    def empty(cls, status: int = 200, *, after: bool = False, **where: Unpack[Where]) -> Fault:
        """No body at all, with this status."""
        return cls(content=b"", status=status, after=after, **where)

    @classmethod
    def redirect(cls, location: str, *, status: int = 302, after: bool = False, **where: Unpack[Where]) -> Fault:
        """A redirect to this place."""
        return cls(content=b"", status=status, headers={"Location": location}, after=after, **where)

    @classmethod
    def garbage(cls, *, after: bool = False, **where: Unpack[Where]) -> Fault:
        """A status line that is none."""
        return cls(raw=GARBAGE, ending=Ending.CLOSE, after=after, **where)

    @classmethod
    def changed(cls, change: Callable[[dict[str, JSON]], JSON], **where: Unpack[Where]) -> Fault:
        """The right answer after `change` was applied to its JSON: tasks vanish, statuses turn odd."""
        return cls(change=change, after=True, **where)

    def strikes(self, route: Route, method: str, path: str) -> bool:
        """Whether it is meant for this call."""
        if self.family not in {None, route.family}:
            return False
        if self.on is None or self.on == route.name:
            return True
        if self.on == QUERY:
            return route.name in {"get", "list"}
        return f"{method} {path}".startswith(self.on) and " " in self.on

    def spoil(self, reply: Reply) -> Reply:
        """What is left of the reply."""
        whole = self._whole(reply)
        cut = None if not self.is_cut else len(whole) // 2 if self.cut_at is None else self.cut_at
        body = whole if self.is_length_kept else whole[:cut]
        return evolve(
            reply,
            status=self.status or reply.status,
            body=body,
            headers=self._headers(reply, is_same=body is reply.body),
            delay=self.delay,
            pace=self.pace,
            cut=cut if self.is_length_kept else None,
            raw=self.raw,
            ending=self.ending if self.is_length_kept else Ending.KEEP,
        )

    def _whole(self, reply: Reply) -> bytes:
        if self.change is not None:
            return dump(self.change(reply.json()))
        return reply.body if self.content is None else self.content

    def _headers(self, reply: Reply, *, is_same: bool) -> dict[str, str]:
        # A file names its own length, which is wrong for any other body.
        length: set[str] = set() if is_same else {"Content-Length"}
        return {name: value for name, value in reply.headers.items() if name not in length} | dict(self.headers)


@define(eq=False)
class Script:
    """The faults still to come, in order. Of those that are meant for a call the first one strikes."""

    _faults: list[Fault] = field(factory=list)

    def add(self, *faults: Fault) -> None:
        """Put these behind what is there."""
        self._faults.extend(faults)

    def clear(self) -> None:
        """Forget all that is left."""
        self._faults.clear()

    @property
    def left(self) -> tuple[Fault, ...]:
        """What has not struck yet, with the number of times that remain."""
        return tuple(self._faults)

    def take(self, route: Route, method: str, path: str) -> Fault | None:
        """The fault that strikes this call, used up by one; `None` for a call that goes well."""
        for place, fault in enumerate(self._faults):
            if fault.strikes(route, method, path):
                self._use(place, fault)
                return fault
        return None

    def _use(self, place: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times > 1:
            self._faults[place] = evolve(fault, times=fault.times - 1)
        else:
            del self._faults[place]
