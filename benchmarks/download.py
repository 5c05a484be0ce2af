"""A film to disk: what this client needs for it, beside plain aiohttp and curl.

    python benchmarks/download.py --mib 512 --rounds 5

One run, on loopback, the three in turn, each in a process of its own. The host is a process of its own too, and sends
the film with sendfile. Seconds are those of the transfer, from the first request to the file on disk; CPU is the
process's own, imports left out (curl has none). `synced` tells whether the file was on the disk by then: this client
always syncs, plain aiohttp is measured both ways, curl cannot. Medians; the ratios are to this client's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from kling_async import ApiKey, KlingClient, Video

MIB = 1024 * 1024
WAYS = ("kling_async", "aiohttp, synced", "aiohttp", "curl")


# --- the host --------------------------------------------------------------------------------------------------------


def host(film: Path) -> None:
    """Serves the film for ever, and prints its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, film.open("rb") as file:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += connection.recv(65536)
                head = f'HTTP/1.1 200 OK\r\nETag: "film"\r\nContent-Length: {film.stat().st_size}\r\n\r\n'
                connection.sendall(head.encode())
                file.seek(0)
                connection.sendfile(file)


# --- the three -------------------------------------------------------------------------------------------------------


async def ours(url: str, path: Path) -> None:
    """What a user of this package writes."""
    async with KlingClient(ApiKey("key"), base_url=url) as kling:
        await kling.download(Video("film", url=f"{url}/film"), path)


async def plain(url: str, path: Path, *, synced: bool) -> None:
    """What a user of aiohttp writes: its documentation's own form, and a sync if wanted."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/film") as answer:
        with path.open("wb") as file:
            async for chunk in answer.content.iter_chunked(65536):
                file.write(chunk)
            if synced:
                file.flush()
                os.fsync(file.fileno())


def child(way: str, url: str, path: Path) -> None:
    """Downloads, and prints seconds and CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    asyncio.run(ours(url, path) if way == WAYS[0] else plain(url, path, synced=way == WAYS[1]))
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    print(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measured(way: str, url: str, path: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of one download."""
    path.unlink(missing_ok=True)
    if way != "curl":
        command = [sys.executable, __file__, "--child", way, url, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        seconds, cpu = map(float, done.stdout.split())
        return seconds, cpu
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["curl", "-sS", "-o", str(path), f"{url}/film"], check=True)  # noqa: S603, S607
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(mib: int, rounds: int, folder: Path) -> None:
    """Prints the table."""
    film, target = folder / "film", folder / "target"
    film.write_bytes(os.urandom(MIB) * mib)
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, "--host", str(film)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        figures: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                figures[way].append(measured(way, url, target))
                assert target.stat().st_size == film.stat().st_size
                os.sync()  # what one has left to be written is not the next one's business
    finally:
        server.kill()
        server.wait()
    _print(mib, figures)


def _print(mib: int, figures: dict[str, list[tuple[float, float]]]) -> None:
    print(f"{'way':<16} {'MiB/s':>8} {'ratio':>6} {'CPU s/GiB':>10} {'ratio':>6}")
    own = [statistics.median(column) for column in zip(*figures[WAYS[0]], strict=True)]
    for way, rows in figures.items():
        seconds, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"{way:<16} {mib / seconds:>8,.0f} {own[0] / seconds:>6.2f} {cpu * 1024 / mib:>10.2f} {cpu / own[1]:>6.2f}"
        )


def main() -> None:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512, help="size of the film (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="downloads each way (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to (default: a temporary one)")
    parser.add_argument("--host", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.host:
        host(given.host)
    elif given.child:
        way, url, path = given.child
        child(way, url, Path(path))
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            run(given.mib, given.rounds, Path(folder))


if __name__ == "__main__":
    main()
