from __future__ import annotations

import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

from kling_async.simulator import __main__ as simulator_main
from kling_async.simulator.__main__ import main


class Interrupting(io.StringIO):
    """A standard output that sends this process a signal once the announcement is out."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def flush(self) -> None:
        os.kill(os.getpid(), self._number)


def announced(monkeypatch: pytest.MonkeyPatch, *argv: str, number: signal.Signals = signal.SIGTERM) -> str:
    output = Interrupting(number)
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["--port", "0", *argv]) == 0
    return output.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    assert "Simulated Kling API on http://127.0.0.1:" in announced(monkeypatch, number=number)


def test_it_says_what_a_client_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = announced(monkeypatch)
    url = text.split()[4]
    assert f"export KLING_BASE_URL={url} KLING_API_KEY=simulated-api-key" in text.splitlines()


@pytest.mark.parametrize(
    "word", ["simulated-access-key", "simulated-secret-key-", "original-video-id", "source-kling-v1-6-10s"]
)
def test_it_names_keys_and_sources(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    assert word in announced(monkeypatch)


def test_it_takes_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--host", "localhost", "--slots", "5", "--units", "100", "--task-seconds", "0.5", "--lenient"]
    options += ["--webhook-secret", "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="]
    assert "http://localhost:" in announced(monkeypatch, *options, "--submitted-seconds", "0")


SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


def test_it_says_what_callbacks_are_signed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    text = announced(monkeypatch, "--webhook-secret", SECRET)
    assert f"  callbacks   signed with {SECRET}" in text.splitlines()
    assert text.splitlines()[-1].endswith(f" KLING_WEBHOOK_SECRET={SECRET}")


def test_it_says_that_callbacks_are_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = announced(monkeypatch)
    assert "  callbacks   not signed; --webhook-secret signs them" in text.splitlines()
    assert "KLING_WEBHOOK_SECRET" not in text


def test_its_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], prog="kling-async simulate")
    assert "\n  kling-async simulate --slots 2 --task-seconds 120\n" in capsys.readouterr().out


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)], prog="kling-async simulate") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"kling-async simulate: cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    "argv",
    [
        ["--port", "65536"],
        ["--port", "-1"],
        ["--port", "http"],
        ["--slots", "-1"],
        ["--units", "1.5"],
        ["--task-seconds", "-1"],
        ["--task-seconds", "nan"],
        ["--submitted-seconds", "soon"],
        ["--webhook-secret", "whsec_!"],
        ["--webhook-secret", "whsec_AAAA"],
        ["--webhook-secret", ""],
        ["surplus"],
    ],
    ids=" ".join,
)
def test_an_option_that_is_none_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert "usage: python -m kling_async.simulator" in capsys.readouterr().err


def test_its_exit_code_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["simulator", "--port", "none"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(simulator_main.__file__), run_name="__main__")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "kling_async.simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (first.split(" on ")[0], process.returncode, errors) == ("Simulated Kling API", 0, "")


def test_it_tells_of_callbacks_that_did_not_arrive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/hook"
    command = [sys.executable, "-m", "kling_async.simulator", "--port", "0", "--task-seconds", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[4]
        body = json.dumps({"video_id": "original-video-id", "callback_url": f"{dead}?token=t"}).encode()
        headers = {"Authorization": "Bearer simulated-api-key", "Content-Type": "application/json"}
        urlopen(Request(f"{url}/v1/videos/video-extend", body, headers)).close()  # noqa: S310 - our own URL
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert first.startswith(f"A callback to {dead} was not delivered: ")
