"""Headers and bodies, without a server."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from captionseg.sources.fetching.params import OPT_OUT
from captionseg.sources.fetching.replies import Pace, Unpacker, check_robots, read_retry_after
from captionseg.sources.reasons import Refusal


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("", 0), ("7", 7), (" 120 ", 120), ("-5", 0), ("1e3", 0), ("soon", 0), ("9" * 50, 999999999)],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert read_retry_after(headers(("Retry-After", value))) == seconds


def test_retry_after_as_a_date() -> None:
    for ahead, wanted in ((30, 30), (-30, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        assert read_retry_after(headers(("retry-after", date))) == pytest.approx(wanted, abs=2)


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (["noai"], True),
        (["all", "NOINDEX"], True),
        (["nofollow, noimageindex"], True),
        (["none"], True),
        (["nofollow, noarchive"], False),
        (["googlebot: noindex, noai"], False),
        (["googlebot: nofollow", "noai"], True),
        (["googlebot: noindex, captionseg: noai"], True),
        (["*: noai"], True),
        (["unavailable_after: 1 Jan 2030 00:00:00 GMT, noai"], True),
        (["max-image-preview: large, noindex"], True),
        ([""], False),
    ],
)
def test_robots(values: list[str], refused: bool) -> None:
    given = headers(*(("X-Robots-Tag", value) for value in values))
    if refused:
        with pytest.raises(Refusal) as caught:
            check_robots(given, OPT_OUT, "captionseg")
        assert caught.value.reason == "opted_out"
    else:
        check_robots(given, OPT_OUT, "captionseg")
    check_robots(given, (), "captionseg")


def test_pace_is_that_of_the_last_seconds() -> None:
    """A body that began fast and then trickles is given up too."""
    pace = Pace(1000.0, 2.0, now=0.0)
    for now, count in ((0.5, 1_000_000), (2.0, 1), (3.0, 1500), (4.0, 600), (5.9, 10)):
        pace.add(count, now)
    with pytest.raises(Refusal, match="5 bytes a second"):
        pace.add(1, 6.1)


def test_a_body_is_unpacked_piece_by_piece() -> None:
    content = bytes(range(256)) * 40
    unpacker = Unpacker("gzip", len(content))
    packed = gzip.compress(content)
    for start in range(0, len(packed), 7):
        unpacker.add(packed[start : start + 7])
    assert unpacker.end() == content


def test_a_bomb_is_never_unpacked() -> None:
    unpacker = Unpacker("gzip", 1000)
    with pytest.raises(Refusal, match=r"more than 0\.001 MB"):
        unpacker.add(gzip.compress(bytes(10**8)))
    assert len(unpacker.content) <= 1000
