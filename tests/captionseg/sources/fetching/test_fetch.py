"""What becomes of each URL of a hostile server."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from captionseg.sources.fetching import fetch as module
from captionseg.sources.fetching.client import draw_wait
from captionseg.sources.fetching.fetch import fetch, fetch_all
from captionseg.sources.fetching.params import HttpParams
from tests.captionseg.sources.fetching.hostile import (
    GOOD,
    HERE,
    UNHURRIED,
    draw_bomb,
    draw_jpeg,
    serving,
)

QUICK = HttpParams(
    contact="test@example.org",
    connect_timeout=5.0,
    read_timeout=1.0,
    total_timeout=10.0,
    min_speed=500.0,
    patience=0.5,
    retries=1,
    backoff=0.05,
    max_wait=3.0,
    redirects=3,
    max_megabytes=1.0,
    allow=("127.0.0.1/32",),
)
"""For what never comes. The server's own address is allowed, no other one."""
PATIENT = dataclasses.replace(QUICK, **UNHURRIED)


def run(*urls: str, params: HttpParams = PATIENT, **changes):
    """Outcomes: bytes, or (reason, text)."""
    found = asyncio.run(fetch_all(urls, dataclasses.replace(params, **changes)))
    return [one if isinstance(one, bytes) else (one.reason, str(one)) for one in found]


TAKEN = [
    "/good/0.jpg",
    "/slow.jpg",
    "/untyped",
    "/bytes",
    "/packed.jpg",
    "/deflated.jpg",
    "/noai-to-others.jpg",
    "/expires.jpg",
    "/moved.jpg",
    "/moved-for-good.jpg",
    "/failed-once.jpg",
    "/busy.jpg",
    "/busy-until.jpg",
    "/cookie",
]
REFUSED = {
    "/stalled.jpg": ("timed_out", "not a byte in time"),
    "/silent.jpg": ("timed_out", "not a byte in time"),
    "/trickle.jpg": ("too_slow", "bytes a second"),
    "/announced-huge.jpg": ("too_large", "100000.0 MB, more than 1 MB"),
    "/huge.jpg": ("too_large", "2.0 MB, more than 1 MB"),
    "/endless.jpg": ("too_large", "more than 1 MB"),
    "/packed-bomb.jpg": ("too_large", "more than 1 MB"),
    "/truncated.jpg": ("truncated", f"ends after {len(GOOD)} of {len(GOOD) + 500} bytes"),
    "/chunked.jpg": ("truncated", f"ends after {len(GOOD)} bytes"),
    "/packed-short.jpg": ("truncated", "gzip ends too early"),
    "/reset_later.jpg": ("truncated", "ends after"),
    "/reset.jpg": ("connection_failed", ""),
    "/page": ("wrong_type", "Content-Type: text/html"),
    "/page.jpg": ("wrong_type", "a page or text, sent as image/jpeg"),
    "/drawing.svg": ("wrong_type", "Content-Type: image/svg+xml"),
    "/video.mp4": ("wrong_type", "Content-Type: video/mp4"),
    "/bytes-of-text": ("wrong_type", "begins as no known picture"),
    "/brotli.jpg": ("wrong_type", "Content-Encoding: br"),
    "/empty.jpg": ("empty", "no bytes"),
    "/nothing.jpg": ("empty", "HTTP 204"),
    "/noai.jpg": ("opted_out", "X-Robots-Tag: NoAI, noimageai"),
    "/none.jpg": ("opted_out", "X-Robots-Tag: none"),
    "/noai-to-us.jpg": ("opted_out", "captionseg: noindex"),
    "/loop.jpg": ("too_many_redirects", "more than 3"),
    "/to-link-local.jpg": ("refused_address", "169.254.1.1 is not of the public internet"),
    "/to-neighbour.jpg": ("refused_address", "127.0.0.2 is not of the public internet"),
    "/to-decimal.jpg": ("refused_address", "127.0.0.2 is not of the public internet"),
    "/to-file.jpg": ("bad_url", "scheme file, not http or https"),
    "/to-secret.jpg": ("bad_url", "a name or password"),
    "/to-nowhere.jpg": ("http_error", "HTTP 302"),
    "/missing.jpg": ("not_found", "HTTP 404"),
    "/gone.jpg": ("not_found", "HTTP 410"),
    "/lost.jpg": ("not_found", "HTTP 404"),
    "/secret.jpg": ("forbidden", "HTTP 401"),
    "/forbidden.jpg": ("forbidden", "HTTP 403"),
    "/teapot.jpg": ("http_error", "HTTP 418"),
    "/part.jpg": ("http_error", "HTTP 206"),
    "/failing.jpg": ("server_error", "HTTP 500"),
    "/no-http.jpg": ("http_error", ""),
    "/long-header.jpg": ("http_error", ""),
}
NEVER = {path for path, (reason, _) in REFUSED.items() if reason in ("timed_out", "too_slow")}
TWICE = {"timed_out", "too_slow", "truncated", "connection_failed", "server_error"}


@pytest.fixture(scope="module")
def outcomes(server):
    """Of all paths at once, but for those that time out."""
    paths = [path for path in (*TAKEN, *REFUSED, "/bomb.png") if path not in NEVER]
    found = run(*map(server.url, paths), connections_per_host=64)
    late = run(*map(server.url, NEVER), params=QUICK)
    return dict(zip((*paths, *NEVER), (*found, *late), strict=True))


@pytest.mark.parametrize("path", TAKEN)
def test_a_picture_is_taken(path: str, outcomes) -> None:
    assert outcomes[path] == GOOD


@pytest.mark.parametrize("path", REFUSED)
def test_all_else_has_its_reason(path: str, outcomes, server) -> None:
    reason, text = outcomes[path]
    assert reason == REFUSED[path][0]
    assert REFUSED[path][1] in text
    assert "\n" not in text
    if path not in ("/loop.jpg", "/lost.jpg", "/reset.jpg"):  # of that aiohttp makes one more
        assert server.asked[path] == 1 + (reason in TWICE), "asked again where it may help"


def test_a_bomb_of_pixels_comes_as_it_is(outcomes) -> None:
    """Whoever decodes it refuses it."""
    assert outcomes["/bomb.png"] == draw_bomb()


def test_404_then_200(server) -> None:
    """Only somebody who asks for it again gets it."""
    assert run(server.url("/lost.jpg")) == [GOOD]


def test_order_and_several_times_the_same() -> None:
    with serving() as server:
        numbers = [3, 1, 3, 2, *range(100), 1]
        assert run(*(server.url(f"/good/{n}.jpg") for n in numbers)) == list(
            map(draw_jpeg, numbers)
        )


@pytest.mark.parametrize(
    ("url", "reason", "text"),
    [
        ("", "bad_url", "scheme missing"),
        ("photo.jpg", "bad_url", "scheme missing"),
        ("//example.org/a.jpg", "bad_url", "scheme missing"),
        ("ftp://example.org/a.jpg", "bad_url", "scheme ftp"),
        ("file:///etc/passwd", "bad_url", "scheme file"),
        ("data:image/png;base64,AAAA", "bad_url", "scheme data"),
        ("http://", "bad_url", ""),
        ("http:///a.jpg", "bad_url", ""),
        ("http://example.org:99999/", "bad_url", ""),
        ("http://[::1/", "bad_url", ""),
        ("http://user@example.org/a.jpg", "bad_url", "name or password"),
        ("http://:word@example.org/a.jpg", "bad_url", "name or password"),
        ("http://example.org/a\nHost: b", "bad_url", "control characters"),
        ("http://example.org/" + "a" * 8000, "bad_url", "longer than"),
        ("http://999.1.2.3/", "bad_url", "no address"),
        ("http://localhost.invalid/", "unknown_host", ""),
    ],
)
def test_urls_that_are_none(url: str, reason: str, text: str) -> None:
    ((found, said),) = run(url)
    assert found == reason
    assert text in said


@pytest.mark.parametrize("changes", [{}, {"allow": ("127.0.0.2/32",)}, {"connections": 1}])
def test_a_name_is_refused_by_its_address(server, changes) -> None:
    """localhost is 127.0.0.1; where that is allowed it is asked, by its name."""
    url = f"http://localhost:{server.port}/good/1.jpg"
    if "allow" in changes:
        ((reason, text),) = run(url, **changes)
        assert reason == "refused_address"
        assert "localhost is " in text
    else:
        assert run(url, **changes) == [draw_jpeg(1)]


def test_private_addresses_by_wish(server) -> None:
    assert run(server.url("/good/1.jpg"), allow=()) == [
        ("refused_address", "127.0.0.1 is not of the public internet")
    ]
    assert run(server.url("/good/1.jpg"), allow=(), allow_private=True) == [draw_jpeg(1)]


def test_a_second_answer_of_the_name_server_gains_nothing(server, resolver) -> None:
    """The address that was checked is the one that is connected to."""
    resolver.names["pictures.example"] = ["127.0.0.1", "127.0.0.2"]
    url = f"http://pictures.example:{server.port}/good/2.jpg"
    assert run(url) == [draw_jpeg(2)]
    assert resolver.asked == ["pictures.example"]
    ((reason, _),) = run(url)
    assert (reason, resolver.asked) == ("refused_address", ["pictures.example"] * 2)


def test_of_several_addresses_only_the_allowed_are_connected_to(server, resolver) -> None:
    resolver.names["pictures.example"] = ["127.0.0.2 10.0.0.1 127.0.0.1"]
    assert run(f"http://pictures.example:{server.port}/good/2.jpg") == [draw_jpeg(2)]


def test_a_name_server_that_fails_may_do_better_the_next_time(server, resolver) -> None:
    resolver.names["pictures.example"] = [socket.gaierror(socket.EAI_AGAIN, "try again"), HERE]
    assert run(f"http://pictures.example:{server.port}/good/2.jpg") == [draw_jpeg(2)]


def test_connections_that_fail(server) -> None:
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        port = unused.getsockname()[1]
        found = run(f"http://{HERE}:{port}/", server.url("/good/1.jpg").replace("http:", "https:"))
    assert [reason for reason, _ in found] == ["connection_failed", "tls_failed"]


def test_what_we_say_of_ourselves(server) -> None:
    """The same client, twice: no cookie is kept, nothing of the environment is sent."""
    run(server.url("/cookie"), server.url("/good/5.jpg"), connections=1)
    head = next(one for one in server.requests if "/good/5.jpg" in one)
    assert "User-Agent: captionseg/" in head
    assert "(+test@example.org)" in head
    assert "Accept-Encoding: identity" in head
    assert "Cookie" not in head


def test_proxies_only_by_wish(server, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    url = "http://pictures.invalid/good/6.jpg"
    ((reason, _),) = run(url)
    assert reason == "unknown_host"
    assert run(url, proxies=True) == [draw_jpeg(6)]
    assert "GET http://pictures.invalid/good/6.jpg" in server.requests[-1]


def test_opt_out_is_honoured_unless_the_user_says_otherwise(server) -> None:
    assert run(server.url("/noai.jpg"), server.url("/none.jpg"), opt_out=()) == [GOOD, GOOD]


def test_a_host_that_asks_to_wait_for_long_is_left_alone() -> None:
    """Nobody waits for an hour, and its other pictures are not asked for."""
    with serving() as server:
        paths = ["/busy-for-an-hour.jpg", "/good/1.jpg"]
        first, second = run(*map(server.url, paths), connections_per_host=1)
        assert first == ("rate_limited", "the host asks to wait for 3600 s, above max_wait")
        assert second[0] == "rate_limited"
        assert server.asked == {"/busy-for-an-hour.jpg": 1}


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"connections": 64, "connections_per_host": 3}, 3),
        ({"connections": 2, "connections_per_host": 8}, 2),
    ],
)
def test_limits_of_connections(changes: dict[str, int], most: int) -> None:
    with serving(pause=0.02) as server:
        found = run(*(server.url(f"/good/{n}.jpg") for n in range(20)), **changes)
        assert found == [draw_jpeg(n) for n in range(20)]
        assert server.busiest == most


def test_workers_share_the_connections() -> None:
    with serving(pause=0.02) as server:
        params = dataclasses.replace(PATIENT, connections=8, connections_per_host=8)
        urls = [server.url(f"/good/{n}.jpg") for n in range(20)]
        assert list(fetch(urls, params, workers=4)) == [draw_jpeg(n) for n in range(20)]
        assert server.busiest == 2


def test_the_client_is_kept_between_shards() -> None:
    threads = set(threading.enumerate())
    with serving() as server:
        for _ in range(3):
            assert list(fetch([server.url("/good/1.jpg")], PATIENT)) == [draw_jpeg(1)]
        names = [one.name for one in set(threading.enumerate()) - threads]
        assert names.count("fetching") <= 1


def test_who_stops_early_is_not_waited_for() -> None:
    with serving() as server:
        urls = [server.url(path) for path in ("/good/1.jpg", "/silent.jpg", "/stalled.jpg")]
        start = time.perf_counter()
        outcomes = fetch(urls, PATIENT)
        assert next(outcomes) == draw_jpeg(1)
        outcomes.close()
        assert time.perf_counter() - start < 240


def test_waits_grow_and_are_the_same_the_next_time() -> None:
    params = HttpParams(backoff=1.0, max_wait=5.0)
    waits = [draw_wait("http://example.org/a.jpg", attempt, params) for attempt in range(1, 6)]
    for attempt, wait in enumerate(waits):
        assert min(2**attempt / 2, 5) <= wait <= min(2**attempt, 5)
    assert waits[-1] == 5.0
    again = [draw_wait("http://example.org/a.jpg", attempt, params) for attempt in range(1, 6)]
    assert again == waits
    assert draw_wait("http://example.org/b.jpg", 1, params) != waits[0]


def test_what_nobody_takes_does_not_pile_up(monkeypatch) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 3 * len(GOOD))
    with serving() as server:
        params = dataclasses.replace(PATIENT, connections=2)
        urls = [server.url(f"/good/{number}.jpg") for number in range(40)]
        outcomes = fetch(urls, params)
        assert next(outcomes) == draw_jpeg(0)
        time.sleep(0.3)
        assert len(server.asked) <= 3 + 1 + 2 * params.connections
        assert list(outcomes) == [draw_jpeg(number) for number in range(1, 40)]


def test_a_process_that_has_fetched_ends_at_once() -> None:
    """Without a word, though its client is still there; also where it stops early."""
    script = textwrap.dedent("""
        import sys
        from captionseg.sources.fetching.fetch import fetch
        from captionseg.sources.fetching.params import HttpParams
        patient = {"read_timeout": 600.0, "total_timeout": 600.0}
        outcomes = fetch(sys.argv[1:], HttpParams(**patient, allow=("127.0.0.1/32",)))
        print(len(next(outcomes)))
    """)
    with serving() as server:
        words = [sys.executable, "-W", "error", "-c", script]
        start = time.perf_counter()
        done = subprocess.run(
            [*words, server.url("/good/0.jpg"), server.url("/silent.jpg")],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == len(GOOD)
    assert time.perf_counter() - start < 240, "it does not wait for what it will not read"
