"""Spans by the conventions for HTTP, as the real SDK exports them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from faultserver import Act, FaultServer, answer, envelope, task_record
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kling_async import ApiKey, DownloadError, KlingClient, KlingError, NotFound, RetryPolicy, Task, Video, otel
from kling_async.credentials import AccessKey, Credentials
from kling_async.simulator import Fault, Simulator
from kling_async.testing import wall
from kling_async.version import VERSION

PATH = "/v1/videos/video-extend"


@attrs.define
class Seen:
    """What was exported."""

    provider: TracerProvider
    exporter: InMemorySpanExporter

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span


@pytest.fixture
def seen() -> Iterator[Seen]:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Seen(provider, exporter)
    provider.shutdown()


def client(url: str, seen: Seen, credentials: Credentials = ApiKey("test-key")) -> KlingClient:  # noqa: B008 - frozen
    return KlingClient(
        credentials,
        base_url=url,
        wall=wall,
        draw=lambda: 0.5,
        retry=RetryPolicy(ask_after=(0.0, 1.0)),
        tracing=otel.Tracing(seen.provider),
    )


def facts(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.fixture
async def kling(simulator: Simulator, seen: Seen) -> object:
    async with client(simulator.url, seen, ApiKey(simulator.api_key)) as kling:
        yield kling


# --- one request -----------------------------------------------------------------------------------------------------


async def test_request_is_a_client_span_by_the_conventions(
    simulator: Simulator, kling: KlingClient, seen: Seen
) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    seen.exporter.clear()
    await kling.video_extend.get(task)
    span = seen.one("")
    assert (span.name, span.kind) == (f"GET {PATH}/{{id}}", SpanKind.CLIENT)
    told = facts(span)
    assert isinstance(told.pop("kling.request_id"), str)
    assert told == {
        "http.request.method": "GET",
        "url.full": f"{simulator.url}{PATH}/{task.id}",
        "url.template": f"{PATH}/{{id}}",
        "server.address": "127.0.0.1",
        "server.port": int(simulator.url.rpartition(":")[2]),
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == ("kling_async", VERSION)  # type: ignore[union-attr]


async def test_page_is_named_without_its_numbers(kling: KlingClient, simulator: Simulator, seen: Seen) -> None:
    await kling.video_extend.list(page_size=10)
    assert seen.names() == [f"GET {PATH}"]
    assert facts(seen.one(""))["url.full"] == f"{simulator.url}{PATH}?pageNum=1&pageSize=10"


async def test_refusal_is_told_by_status_code_and_request_id(kling: KlingClient, seen: Seen) -> None:
    with pytest.raises(NotFound) as caught:
        await kling.video_extend.get("1234")
    span = seen.one("GET")
    told = facts(span)
    assert told["error.type"] == str(told["http.response.status_code"]) == str(caught.value.http_status)
    assert (told["kling.code"], told["kling.request_id"]) == (caught.value.code, caught.value.request_id)
    # What the status says already is not said again.
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)


async def test_each_attempt_has_a_span_and_its_number(simulator: Simulator, kling: KlingClient, seen: Seen) -> None:
    task = await kling.video_extend.create(simulator.sources[0])
    seen.exporter.clear()
    simulator.script(Fault.code(5000, on="get", times=2))
    await kling.video_extend.get(task)
    counts = [facts(span).get("http.request.resend_count") for span in seen.spans()]
    assert counts == [None, 1, 2]


async def test_request_signed_anew_is_a_second_attempt(seen: Seen) -> None:
    refused, task = envelope(None, code=1004, status="401 no"), envelope(task_record())
    pair = AccessKey("access-key", "secret-key-of-32-letters-or-more")
    async with FaultServer.of(Act(say=refused), Act(say=task)) as server, client(server.url, seen, pair) as kling:
        await kling.video_extend.get("t-1")
    assert [facts(span).get("http.request.resend_count") for span in seen.spans()] == [None, 1]
    assert [facts(span)["http.response.status_code"] for span in seen.spans()] == [401, 200]


async def test_request_that_nobody_answers_names_the_fault(seen: Seen) -> None:
    async with client("http://127.0.0.1:1", seen) as kling:
        with pytest.raises(KlingError):
            await kling.video_extend.get("t-1", timeout=0.1)
    span = seen.spans("GET")[0]
    assert facts(span)["error.type"] == "aiohttp.client_exceptions.ClientConnectorError"
    assert span.status.description == "cannot connect to 127.0.0.1:1: Connection refused"
    assert "http.response.status_code" not in facts(span)


async def test_silence_is_a_timeout(seen: Seen) -> None:
    async with FaultServer.of(Act(then="silence")) as server, client(server.url, seen) as kling:
        with pytest.raises(KlingError):
            await kling.video_extend.get("t-1", timeout=1.0)
    assert facts(seen.spans("GET")[0])["error.type"] == "TimeoutError"


async def test_answer_that_is_not_the_vendors_is_an_error_whatever_its_status(seen: Seen) -> None:
    async with FaultServer.of(Act(say=answer(b"<html>"))) as server, client(server.url, seen) as kling:
        with pytest.raises(KlingError):
            await kling.video_extend.get("t-1", timeout=0.1)
    span = seen.spans("GET")[0]
    assert facts(span)["error.type"] == "kling_async.errors.MalformedResponse"
    assert span.status.status_code is StatusCode.ERROR
    assert "no JSON" in str(span.status.description)


async def test_cancelled_request_has_a_span_too(seen: Seen) -> None:
    async with FaultServer.of(Act(then="silence")) as server, client(server.url, seen) as kling:
        asking = asyncio.create_task(kling.video_extend.get("t-1"))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait([asking])
    assert facts(seen.one("GET"))["error.type"] == "asyncio.exceptions.CancelledError"


def test_port_is_told_where_the_url_leaves_it_out(seen: Seen) -> None:
    for url in ("https://api.example/v1", "http://api.example?a=1"):
        otel.Tracing(seen.provider).attempt("GET", url, template=None, resend=0).ended(status=200)
    assert [facts(span)["server.port"] for span in seen.spans()] == [443, 80]
    assert {facts(span)["server.address"] for span in seen.spans()} == {"api.example"}


# --- calls -----------------------------------------------------------------------------------------------------------


async def test_create_has_a_span_around_its_requests(simulator: Simulator, kling: KlingClient, seen: Seen) -> None:
    simulator.script(Fault.reset(on="create", after=True))
    task = await kling.video_extend.create(simulator.sources[0], external_task_id="mine")
    assert seen.names() == [f"POST {PATH}", f"GET {PATH}/{{id}}", "kling.create"]
    post, get, create = seen.spans()
    assert create.context is not None
    assert {span.parent and span.parent.span_id for span in (post, get)} == {create.context.span_id}
    assert facts(create) == {
        "kling.resource": PATH,
        "kling.external_task_id": "mine",
        "kling.task_id": task.id,
    }
    assert create.kind is SpanKind.INTERNAL


async def test_create_that_is_posted_again_counts(simulator: Simulator, kling: KlingClient, seen: Seen) -> None:
    simulator.script(Fault.code(1303, on="create", times=1))
    await kling.video_extend.create(simulator.sources[0])
    assert [facts(span).get("http.request.resend_count") for span in seen.spans("POST")] == [None, 1]


async def test_refused_create_says_why(kling: KlingClient, seen: Seen) -> None:
    with pytest.raises(KlingError) as caught:
        await kling.video_extend.create("no-such-video")
    create = seen.one("kling.create")
    assert create.status.description == caught.value.message
    assert facts(create)["error.type"] == f"kling_async.errors.{type(caught.value).__name__}"
    assert facts(create)["kling.code"] == 1201


async def test_download_has_a_span_around_its_requests(
    simulator: Simulator, kling: KlingClient, seen: Seen, tmp_path: Path
) -> None:
    task = await kling.video_extend.run(simulator.sources[0])
    seen.exporter.clear()
    await kling.download(task, tmp_path / "film.mp4")
    get, download = seen.spans()
    assert (get.name, download.name) == ("GET", "kling.download")
    assert facts(download) == {"kling.video_id": task.video.id, "kling.size": (tmp_path / "film.mp4").stat().st_size}
    assert facts(get)["url.full"] == str(task.video.url).partition("?")[0]
    assert facts(get)["http.response.status_code"] == 200


async def test_each_request_of_a_download_has_a_span(seen: Seen, tmp_path: Path) -> None:
    acts = [
        Act(say=answer(b"", status="302 Found", headers={"Location": "/other?sig=1"})),
        Act(say=answer(b"a film")[:-3]),
        Act(say=answer(b"a film")),
    ]
    async with FaultServer.of(*acts) as server, client(server.url, seen) as kling:
        await kling.download(Video("v-1", url=f"{server.url}/f?sig=1"), tmp_path / "film.mp4")
    told = [facts(span) for span in seen.spans("GET")]
    assert [str(one["url.full"]).rpartition("/")[2] for one in told] == ["f", "other", "f"]
    assert [one.get("http.request.resend_count") for one in told] == [None, 1, 2]
    assert [one["http.response.status_code"] for one in told] == [302, 200, 200]
    assert [one.get("error.type") for one in told] == [None, "_OTHER", None]
    assert "the connection broke" in str(seen.spans("GET")[1].status.description)


async def test_cancelled_download_ends_its_spans(seen: Seen, tmp_path: Path) -> None:
    silent = Act(say=answer(b"a film")[:-3], then="silence")
    async with FaultServer.of(silent) as server, client(server.url, seen) as kling:
        loading = asyncio.create_task(kling.download(Video("v-1", url=f"{server.url}/f"), tmp_path / "film.mp4"))
        while not server.sent:
            await asyncio.sleep(0.01)
        loading.cancel()
        await asyncio.wait([loading])
    assert {facts(span)["error.type"] for span in seen.spans()} == {"asyncio.exceptions.CancelledError"}
    assert len(seen.spans()) == 2


async def test_polls_belong_to_nobody(simulator: Simulator, kling: KlingClient, seen: Seen) -> None:
    with trace.get_tracer("mine", tracer_provider=seen.provider).start_as_current_span("my request"):
        task = await kling.video_extend.create(simulator.sources[0])
        await kling.video_extend.wait(task)
    mine, create = seen.one("my request"), seen.one("kling.create")
    assert mine.context is not None
    assert create.parent is not None
    assert create.parent.span_id == mine.context.span_id  # the control: a call does belong to who made it
    polls = seen.spans("GET")
    assert len(polls) > 1
    assert {span.parent for span in polls} == {None}


@attrs.define
class _Store:
    """A store of callbacks that tells under which span it is asked."""

    asked_under: list[trace.SpanContext] = attrs.field(factory=list)

    async def add(self, id: str, body: bytes) -> bool:  # noqa: ARG002 - the protocol's
        return True

    async def news(self, place: str) -> tuple[str, list[tuple[str, bytes]]]:
        self.asked_under.append(trace.get_current_span().get_span_context())
        await asyncio.sleep(1000.0)
        return place, []

    async def close(self) -> None: ...


async def test_listener_for_callbacks_belongs_to_nobody(seen: Seen) -> None:
    store = _Store()
    kling = KlingClient(ApiKey("key"), webhook_secrets=["whsec_" + "A" * 32], callback_store=store, wall=wall)
    with trace.get_tracer("mine", tracer_provider=seen.provider).start_as_current_span("my start"):
        async with kling:
            await asyncio.sleep(0.1)
    assert [span.is_valid for span in store.asked_under] == [False]


async def test_vendor_is_sent_nothing_of_a_trace(seen: Seen) -> None:
    async with FaultServer.of(Act(say=envelope(task_record()))) as server, client(server.url, seen) as kling:
        await kling.video_extend.create("v-1")
        assert server.received
        assert not {"traceparent", "tracestate", "baggage"} & {name.lower() for name in server.received[0].headers}


# --- what a user's own parts raise -----------------------------------------------------------------------------------


@attrs.define
class _Failing(SpanProcessor):
    """A processor that fails where it is told to."""

    at: str

    def on_start(self, span: object, parent_context: object = None) -> None:  # noqa: ARG002 - the SDK's
        if self.at == "start":
            raise LookupError("mine")

    def on_end(self, span: object) -> None:  # noqa: ARG002 - likewise
        if self.at == "end":
            raise LookupError("mine")


@pytest.mark.parametrize("at", ["start", "end"])
async def test_processor_that_fails_breaks_nothing(
    simulator: Simulator, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="kling_async")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Failing(at))
    tracing = otel.Tracing(provider)
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, tracing=tracing) as kling:
        assert isinstance(await kling.video_extend.create(simulator.sources[0]), Task)
    assert [record.getMessage() for record in caplog.records] == [
        f"a span could not be {'begun' if at == 'start' else 'ended'}"
    ] * 2


async def test_global_provider_is_taken_where_none_is_given(simulator: Simulator) -> None:
    tracing = otel.Tracing()
    async with KlingClient(ApiKey(simulator.api_key), base_url=simulator.url, wall=wall, tracing=tracing) as kling:
        await kling.video_extend.create(simulator.sources[0])  # none is set: spans lead nowhere


# --- secrets ---------------------------------------------------------------------------------------------------------

PLANTED = "planted"
PROMPT = "a prompt that nobody else may read"
LEAKS: dict[str, Callable[[], Act]] = {
    "closed": Act,
    "HTML": lambda: Act(say=answer(b"<html>planted-api-key-of-some-length</html>", status="502 no")),
    "wrong key": lambda: Act(say=envelope(None, code=1002, status="401 no")),
    "redirect": lambda: Act(say=answer(b"", status="302 x", headers={"Location": "https://e.example/?sig=planted"})),
}


def exported(seen: Seen) -> str:
    return "\n".join(span.to_json() for span in seen.spans())


@pytest.mark.parametrize("act", LEAKS.values(), ids=LEAKS.keys())
async def test_spans_show_no_secret(seen: Seen, act: Callable[[], Act], tmp_path: Path) -> None:
    key = ApiKey("planted-api-key-of-some-length")
    async with FaultServer.of(act()) as server, client(server.url, seen, key) as kling:
        with pytest.raises(KlingError):
            await kling.video_extend.create("v-1", prompt=PROMPT)
        with pytest.raises(DownloadError):
            await kling.download(Video("v-1", url=f"{server.url}/f?sig=planted"), tmp_path / "f.mp4")
    assert len(seen.spans("kling.")) == 2  # the control: both were exported
    assert PLANTED not in exported(seen)
    assert PROMPT not in exported(seen)


def test_search_finds_a_secret_in_a_span(seen: Seen) -> None:
    otel.Tracing(seen.provider).attempt("GET", "https://e.example/?sig=planted", template=None, resend=0).ended()
    assert PLANTED in exported(seen)
