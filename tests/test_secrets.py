"""Secrets and prompts stay out: of logs, reprs, errors, tracebacks with locals, pickles, the journal and warnings.

Each secret is planted, each layer is made to fail, and everything that anybody could print is searched. What the search
would find, were it there, is shown by the controls.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from faultserver import Act, FaultServer, answer, envelope, task_record

from kling_async import (
    AccessKey,
    ApiKey,
    ConfigurationError,
    CreateUncertain,
    KlingClient,
    KlingError,
    NoVideo,
    RequestError,
    RetryPolicy,
    Task,
    TaskStatus,
    Video,
    VideoExtendRequest,
    WaitTimeout,
)
from kling_async.credentials import Credentials, Signer
from kling_async.events import Event, PollFailed
from kling_async.simulator import Engine, Fault, Simulator
from kling_async.testing import wall

API_KEY = "planted-api-key-of-some-length"
SECRET_KEY = "planted-secret-key-of-32-letters-or-more"
SIGNATURE = "planted-signature-of-a-url"
PROXY_PASSWORD = "planted-proxy-password"
PROMPT = "a prompt that nobody else may read"
PLANTED = "planted"
PAIR = AccessKey("access-key-1234", SECRET_KEY)
KEY = ApiKey(API_KEY)


def token(kling: KlingClient) -> str:
    """The token that the client sends."""
    return kling._transport._signer.header(wall()).removeprefix("Bearer ")


def told_of(error: BaseException) -> str:
    """All that can be shown of an error, frames of the package with their locals included."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    _without_frames_of_tests(shown)
    return "\n".join([*shown.format(), str(error), repr(error), *map(str, getattr(error, "__notes__", ()))])


def carried(error: KlingError) -> str:
    """The error as it crosses to another process. What carries a task carries its record, URLs included."""
    return "" if isinstance(error, WaitTimeout | NoVideo) else str(pickle.dumps(error))


def _without_frames_of_tests(shown: traceback.TracebackException | None) -> None:
    # The test's own locals hold what was planted, and its own lines name it.
    if shown is not None:
        shown.stack[:] = [frame for frame in shown.stack if frame.filename != __file__]
        _without_frames_of_tests(shown.__cause__)
        _without_frames_of_tests(shown.__context__)


@attrs.frozen
class Ears:
    """Everything that was logged and warned of."""

    log: pytest.LogCaptureFixture
    warned: list[warnings.WarningMessage]

    def heard(self) -> str:
        # The simulator is the vendor: its access log is not ours.
        ours = (record for record in self.log.records if not record.name.startswith("kling_async.simulator"))
        records = (f"{record.getMessage()} {record.args} {record.exc_text}" for record in ours)
        return "\n".join([*records, *(str(warning.message) for warning in self.warned)])


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture) -> Iterator[Ears]:
    for name in ("kling_async", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield Ears(caplog, warned)


@pytest.fixture(params=[KEY, PAIR], ids=["api key", "access key"])
def credentials(request: pytest.FixtureRequest) -> Credentials:
    given: Credentials = request.param
    return given


def client(url: str, credentials: Credentials = KEY) -> KlingClient:
    retry = RetryPolicy(timeout=5.0, ask_after=(0.0,), settle_timeout=20.0)
    return KlingClient(credentials, base_url=url, wall=wall, draw=lambda: 0.5, retry=retry)


def assert_nothing(text: str, kling: KlingClient | None = None) -> None:
    assert PLANTED not in text
    if kling is not None:
        assert token(kling) not in text
        assert token(kling).rpartition(".")[2] not in text  # the signature alone


# --- each layer fails ------------------------------------------------------------------------------------------------

SIGNED = task_record() | {
    "task_status": "succeed",
    "task_result": {"videos": [{"id": "v-1", "url": f"https://files.example/f.mp4?sig={SIGNATURE}", "duration": "5"}]},
}
NO_ID = {name: value for name, value in SIGNED.items() if name != "task_id"}
CUT = envelope(SIGNED)[:-2]

LAYERS: dict[str, Act] = {
    "closed": Act(),
    "reset": Act(then="reset"),
    "silent": Act(then="silence"),
    "garbage": Act(say=b"NOT HTTP\r\n\r\n"),
    "cut in the body": Act(say=CUT),
    "reset in the body": Act(say=CUT, then="reset"),
    "HTML": Act(say=answer(b"<html>no</html>", status="502 Bad")),
    "record without id": Act(say=envelope(NO_ID)),
    "odd record": Act(say=envelope(SIGNED | {"task_result": {"videos": f"?sig={SIGNATURE}"}})),
    "list of one": Act(say=envelope(SIGNED, code=5000, status="500 no")),
    "error around success": Act(say=envelope(SIGNED, status="500 no")),
    "redirect": Act(say=answer(b"", status="302 x", headers={"Location": f"https://e.example/?sig={SIGNATURE}"})),
    "no code": Act(say=answer(json.dumps({"data": SIGNED}).encode())),
    "cut JSON": Act(say=answer(json.dumps({"data": SIGNED}).encode()[:-9])),
    "wrong key": Act(say=envelope(None, code=1002, status="401 no")),
    "no money": Act(say=envelope(None, code=1101, status="429 no")),
}


async def _first_page(kling: KlingClient) -> object:
    return await kling.video_extend.list()


Call = Callable[[KlingClient], Awaitable[object]]
CALLS: dict[str, Call] = {
    "create": lambda kling: kling.video_extend.create("v-1", prompt=PROMPT),
    "get": lambda kling: kling.video_extend.get("t-1"),
    "list": _first_page,
    "wait": lambda kling: kling.video_extend.wait("t-1", timeout=10.0),
}


@pytest.mark.parametrize("act", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_failure_shows_no_secret(call: Call, act: Act, credentials: Credentials, ears: Ears) -> None:
    async with FaultServer.of(act) as server, client(server.url, credentials) as kling:
        try:
            await call(kling)
        except KlingError as error:
            shown = told_of(error) + carried(error)
        else:
            shown = ""  # a page may hold a record that cannot be read, and be a page all the same
        assert_nothing(shown + ears.heard() + repr(kling), kling)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_host_that_cannot_be_reached_shows_no_secret(call: Call, credentials: Credentials, ears: Ears) -> None:
    async with client("http://127.0.0.1:1", credentials) as kling:
        with pytest.raises(KlingError) as caught:
            await call(kling)
        assert_nothing(told_of(caught.value) + str(pickle.dumps(caught.value)) + ears.heard(), kling)


# --- the vendor echoes -----------------------------------------------------------------------------------------------


def _echo(kling: KlingClient) -> dict[str, bytes]:
    header = str(kling._transport._signer.header(wall()))
    secrets = f"{header} {token(kling)} {API_KEY} {SECRET_KEY}"
    long = "x" * 190 + secrets  # would be cut in the middle of a secret
    message = {"message": secrets, "request_id": secrets}
    return {
        "message": answer(json.dumps({"code": 1002, **message}).encode(), status="401 no"),
        "long message": answer(json.dumps({"code": 1200, "message": "x" * 300 + long}).encode(), status="400 no"),
        "HTML": answer(f"<html>{secrets}</html>".encode(), status="502 no"),
        "long HTML": answer(long.encode(), status="502 no"),
        "redirect": answer(b"", status="302 no", headers={"Location": f"https://e.example/{token(kling)}/{API_KEY}"}),
        "task": envelope(task_record() | {"task_status_msg": secrets}),
    }


@pytest.mark.parametrize("kind", ["message", "long message", "HTML", "long HTML", "redirect", "task"])
async def test_echo_of_a_secret_is_not_passed_on(kind: str, credentials: Credentials, ears: Ears) -> None:
    server = FaultServer.of(Act())
    async with server, client(server.url, credentials) as kling:
        server.acts[:] = [Act(say=_echo(kling)[kind])]
        own = API_KEY if credentials is KEY else SECRET_KEY
        try:
            shown = repr((await kling.video_extend.get("t-1")).raw)
        except KlingError as error:
            shown = told_of(error) + carried(error)
        shown += ears.heard()
        for secret in (own, own[:12], token(kling), token(kling)[-12:]):
            assert secret not in shown


def test_keys_too_short_to_be_real_are_no_reason_to_rewrite_answers() -> None:
    assert Signer(ApiKey("task_id")).unsaid(b'{"task_id": 1}') == b'{"task_id": 1}'


def test_answer_without_secrets_stays_as_it_is() -> None:
    body = b'{"task_id": 1}'
    assert Signer(KEY).unsaid(body) is body


@pytest.mark.parametrize("given", [KEY, PAIR], ids=["api key", "access key"])
def test_answer_is_rid_of_key_and_token(given: Credentials) -> None:
    signer = Signer(given)
    header = signer.header(1_800_000_000.0)
    assert signer.unsaid(f"{header}, {API_KEY if given is KEY else SECRET_KEY}!".encode()) == (
        b"Bearer <secret>, <secret>!"
    )


# --- files -----------------------------------------------------------------------------------------------------------

FILES: dict[str, Act] = {
    name: LAYERS[name] for name in ("closed", "reset", "silent", "garbage", "HTML", "redirect", "wrong key")
} | {
    "cut": Act(say=answer(b"film" * 100)[:-9]),
    "empty": Act(say=answer(b"")),
}


@pytest.mark.parametrize("act", FILES.values(), ids=FILES.keys())
async def test_failed_download_shows_no_signed_url(act: Act, ears: Ears, tmp_path: Path) -> None:
    async with FaultServer.of(act) as server, client(server.url) as kling:
        with pytest.raises(KlingError) as caught:
            await kling.download(Video("v-1", url=f"{server.url}/f.mp4?sig={SIGNATURE}"), tmp_path / "f.mp4")
        assert_nothing(told_of(caught.value) + str(pickle.dumps(caught.value)) + ears.heard())


@pytest.mark.parametrize(
    "url", [f"ftp://e.example/f?sig={SIGNATURE}", f"https://[::1?sig={SIGNATURE}", f"https:///?sig={SIGNATURE}"]
)
async def test_refused_url_is_not_shown(url: str, tmp_path: Path) -> None:
    async with client("http://127.0.0.1:1") as kling:
        with pytest.raises(RequestError) as caught:
            await kling.download(Video("v-1", url=url), tmp_path / "f.mp4")
        assert_nothing(told_of(caught.value))


async def test_file_that_cannot_be_written_shows_no_signed_url(tmp_path: Path) -> None:
    async with FaultServer.of(Act(say=answer(b"film"))) as server, client(server.url) as kling:
        with pytest.raises(KlingError) as caught:
            await kling.download(Video("v-1", url=f"{server.url}/f?sig={SIGNATURE}"), tmp_path / "none" / "f.mp4")
        assert_nothing(told_of(caught.value))


def test_task_shows_neither_signed_url_nor_raw_record() -> None:
    video = Video("v-1", url=f"https://files.example/f?sig={SIGNATURE}")
    assert_nothing(repr(Task("t-1", TaskStatus.SUCCEED, videos=(video,), raw=SIGNED)))


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", LAYERS.values(), ids=LAYERS.keys())
async def test_event_shows_no_secret(act: Act, credentials: Credentials, tmp_path: Path) -> None:
    told: list[Event] = []
    film = Act(say=answer(b"film"))
    async with FaultServer.of(Act(say=envelope(task_record())), act, act, Act(say=envelope(SIGNED)), film) as server:
        retry = RetryPolicy(timeout=5.0, ask_after=(0.0,), settle_timeout=20.0)
        kling = KlingClient(credentials, base_url=server.url, wall=wall, retry=retry, on_event=told.append)
        async with kling:
            await kling.video_extend.create("v-1", prompt=PROMPT)
            try:
                await kling.video_extend.wait("other", timeout=60.0)
                await kling.download(Video("v-1", url=f"{server.url}/f.mp4?sig={SIGNATURE}"), tmp_path / "film.mp4")
            except KlingError:
                pass  # some of the trouble is final; what was told of it counts
        assert len(told) > 1  # the control
        shown = "".join(f"{event!r} {attrs.asdict(event)} {pickle.dumps(event)!r}" for event in told)
        errors = [told_of(event.error) for event in told if isinstance(event, PollFailed)]
        assert_nothing(shown + "".join(errors), kling)
        assert PROMPT not in shown


# --- set up ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [f"https://user:{PROXY_PASSWORD}@e.example", f"https://e.example?key={API_KEY}"])
def test_base_url_with_a_secret_is_refused_unsaid(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        KlingClient(KEY, base_url=url)
    assert_nothing(str(caught.value) + repr(caught.value) + str(pickle.dumps(caught.value)))


async def test_proxy_of_the_environment_appears_nowhere(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{PROXY_PASSWORD}@127.0.0.1:1")
    async with FaultServer.of(Act()) as server, client(server.url) as kling:
        with pytest.raises(KlingError) as caught:
            await kling.video_extend.get("t-1")
        assert server.connections > 0  # the control: the proxy was not asked
        assert_nothing(told_of(caught.value) + ears.heard() + repr(kling))


# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [PROMPT * 100, [PROMPT], PROMPT.encode()], ids=["too long", "a list", "bytes"])
def test_refused_prompt_is_not_shown(prompt: str) -> None:
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest(video_id="v-1", prompt=prompt)
    assert PROMPT not in str(caught.value) + repr(caught.value)


async def test_prompt_is_in_no_log_and_no_error_of_a_create(ears: Ears) -> None:
    async with FaultServer.of(Act()) as server, client(server.url) as kling:
        with pytest.raises(CreateUncertain) as caught:
            await kling.video_extend.create("v-1", prompt=PROMPT)
        assert PROMPT.encode() in server.received[0].body  # the control: it was sent
        shown = str(caught.value) + repr(caught.value) + str(pickle.dumps(caught.value)) + ears.heard() + repr(kling)
        assert PROMPT not in shown


# --- the journal and a whole batch -----------------------------------------------------------------------------------


@pytest.fixture
async def signing(credentials: Credentials) -> AsyncIterator[Simulator]:
    """A vendor that knows the planted keys, and signs its URLs."""

    def sign(record: object) -> None:
        for part in record.values() if isinstance(record, dict) else record if isinstance(record, list) else ():
            sign(part)
        if isinstance(record, dict) and isinstance(record.get("url"), str):
            record["url"] += f"?sig={SIGNATURE}"

    def signed(reply: dict[str, Any]) -> Any:
        sign(reply)
        return reply

    engine = Engine(clock=wall, task_seconds=12.0, film=lambda _: b"film")
    engine.keys.api_keys.add(API_KEY)
    engine.keys.secrets[PAIR.access_key] = SECRET_KEY
    engine.script(Fault.changed(signed, on="query", times=None))
    async with Simulator(engine) as simulator:
        yield simulator


async def test_batch_writes_and_logs_no_secret(
    signing: Simulator, credentials: Credentials, ears: Ears, tmp_path: Path
) -> None:
    asyncio.get_running_loop().set_debug(True)
    written = b""
    async with (
        client(signing.url, credentials) as kling,
        kling.batch(tmp_path / "run.sqlite3", out=tmp_path) as batch,
    ):
        outcomes = [
            outcome async for outcome in batch.run({"a": VideoExtendRequest(video_id=signing.sources[0], prompt="p")})
        ]
        for file in tmp_path.glob("run.sqlite3*"):
            written += file.read_bytes()
        assert [outcome.error for outcome in outcomes] == [None]
        assert outcomes[0].task is not None
        assert SIGNATURE in str(outcomes[0].task.video.url)  # the control: the URL was signed
        assert b"kling-async-" in written  # the control: this is the journal
        assert PLANTED.encode() not in written
        assert token(kling).encode() not in written
        assert_nothing(ears.heard() + repr(outcomes) + repr(batch), kling)


# --- controls: what is there is found --------------------------------------------------------------------------------


async def test_search_finds_a_secret_in_the_locals_of_a_frame() -> None:
    scope: dict[str, object] = {}
    exec(compile("def fail(key):\n    raise LookupError", "elsewhere.py", "exec"), scope)  # noqa: S102 - a frame that is no test's
    with pytest.raises(LookupError) as caught:
        scope["fail"](API_KEY)  # type: ignore[operator]
    assert PLANTED in told_of(caught.value)


def test_search_finds_a_secret_in_a_message_its_cause_and_its_notes() -> None:
    error = LookupError("harmless")
    error.__cause__ = LookupError(API_KEY)
    error.add_note(SECRET_KEY)
    assert API_KEY in told_of(error)
    assert SECRET_KEY in told_of(error)


@pytest.mark.parametrize("name", ["kling_async", "aiohttp.client", "asyncio"])
def test_search_finds_a_secret_in_a_log_at_debug(name: str, ears: Ears) -> None:
    logging.getLogger(name).debug("asked with %s", API_KEY)
    assert API_KEY in ears.heard()


def test_search_finds_a_secret_in_a_warning(ears: Ears) -> None:
    warnings.warn(API_KEY, stacklevel=1)
    assert API_KEY in ears.heard()


async def test_search_finds_an_echo_that_is_not_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Signer, "unsaid", lambda _, given: given)
    server = FaultServer.of(Act())
    async with server, client(server.url) as kling:
        server.acts[:] = [Act(say=_echo(kling)["message"])]
        with pytest.raises(KlingError) as caught:
            await kling.video_extend.get("t-1")
        assert API_KEY in told_of(caught.value)
