"""When a refusal says to come back: every header and form, and nothing from what is none."""

from __future__ import annotations

import time
from email.utils import formatdate
from math import isfinite

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scrapy.http.headers import Headers

from scrapy_proxybalance.http.retry_after import Asked, wait_asked

NOW = 1_800_000_000.0  # Friday, 15 January 2027, 08:00:00 GMT

HEADERS = [
    "Retry-After",
    "RateLimit-Reset",
    "RateLimit-Remaining",
    "RateLimit",
    "X-RateLimit-Reset-After",
    "X-RateLimit-Reset",
    "X-RateLimit-Remaining",
    "X-Rate-Limit-Reset",
    "X-Rate-Limit-Remaining",
]


def wait(**headers: str | list[str]) -> float | None:
    """Return the seconds that headers ask for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = wait_asked(Headers(named), NOW)
    return None if asked is None else asked.seconds


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7\t", 7.0),
        ("007", 7.0),
        ("1.5", 1.5),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        ("Fri, 15 Jan 2027 08:01:30 GMT", 90.0),
        ("Friday, 15-Jan-27 08:01:30 GMT", 90.0),
        ("Fri Jan 15 08:01:30 2027", 90.0),
        ("Mon Feb  1 08:00:00 2027", 17 * 86400.0),
        # Not of HTTP, but clear.
        ("Fri, 15-Jan-27 08:01:30 GMT", 90.0),
        ("15 Jan 2027 08:01:30 UTC", 90.0),
        ("Fri, 15 Jan 2027 09:01:30 +0100", 90.0),
        # A leap second.
        ("Fri, 15 Jan 2027 08:01:60 GMT", 119.0),
    ],
)
def test_retry_after_is_read_in_each_form(value: str, seconds: float) -> None:
    assert wait(Retry_After=value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0",
        "0.0",
        "-5",
        "+5",
        "soon",
        "nan",
        "inf",
        "1e3",
        "1e400",
        "0x10",
        "5 seconds",
        "1,5",
        "1_000",
        "9" * 400,
        "0." + "0" * 400 + "1",
        "²",
        "١٢",
        ",",
        formatdate(NOW, usegmt=True),
        formatdate(NOW - 90, usegmt=True),
        "Fri, 15 Jab 2027 08:01:30 GMT",
        "Friday, 15-Jab-27 08:01:30 GMT",
        "Fri Jab 15 08:01:30 2027",
        "Wed, 31 Feb 2027 08:01:30 GMT",
        "Fri, 15 Jan 2027 24:01:30 GMT",
        "Fri, 15 Jan 2027 08:60:30 GMT",
        "Fri, 15 Jan 2027 08:01:61 GMT",
        "Fri, 15 Jan 2027",
        "Fri, 15 Jan 20270 08:01:30 GMT",
        f"Fri, 15 Jan {'9' * 30} 08:01:30 GMT",
        f"Fri, 15 Jan 2027 08:01:30 +{'9' * 30}",
        "Fri, 15 Jan 2027 08:01:30 +9900",
    ],
)
def test_a_retry_after_that_says_nothing_usable_says_nothing(value: str) -> None:
    assert wait(Retry_After=value) is None


def test_bytes_that_are_no_text_say_nothing() -> None:
    assert wait_asked(Headers({"Retry-After": b"\xff\xfe\x00"}), NOW) is None


def test_the_end_of_the_calendar_is_a_long_wait() -> None:
    assert wait(Retry_After="Fri, 31 Dec 9999 23:59:59 GMT") == 253_402_300_799 - NOW
    assert wait(Retry_After="Fri, 31 Dec 9999 23:59:59 -1200") == 253_402_343_999 - NOW


@pytest.mark.parametrize(("year", "ahead"), [("77", True), ("78", False), ("69", True)])
def test_a_year_of_two_digits_is_at_most_50_years_ahead(year: str, ahead: bool) -> None:
    assert (wait(Retry_After=f"Friday, 01-Jan-{year} 00:00:00 GMT") is not None) is ahead


def test_a_year_of_two_digits_may_be_of_the_next_century() -> None:
    # The last second of 2099, and what comes a minute later.
    now = 4_102_444_799.0
    headers = Headers({"Retry-After": "Friday, 01-Jan-00 00:00:59 GMT"})
    assert wait_asked(headers, now) == Asked(
        seconds=60.0, header="Retry-After: Friday, 01-Jan-00 00:00:59 GMT"
    )


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
def test_a_date_without_a_zone_is_gmt_wherever_the_crawl_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-9")
        time.tzset()
        try:
            assert wait(Retry_After="Fri Jan 15 08:01:30 2027") == 90
        finally:
            patch.undo()
            time.tzset()


def test_of_several_lines_the_longest_wait_counts() -> None:
    assert wait(Retry_After=["30", "soon", "60", "0", "Fri, 15 Jan 2027 08:00:45 GMT"]) == 60


# The headers of a rate limit


@pytest.mark.parametrize(
    "name",
    ["RateLimit_Reset", "X_RateLimit_Reset_After", "X_RateLimit_Reset", "X_Rate_Limit_Reset"],
)
def test_a_reset_in_seconds(name: str) -> None:
    assert wait(**{name: "50"}) == 50
    assert wait(**{name: "1.25"}) == 1.25
    assert wait(**{name: "0"}) is None
    assert wait(**{name: "-1"}) is None
    assert wait(**{name: "garbage"}) is None
    assert wait(**{name: ["20", "garbage", "50"]}) == 50


@pytest.mark.parametrize("name", ["RateLimit_Reset", "X_RateLimit_Reset", "X_Rate_Limit_Reset"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("999999999", 999_999_999.0),
        ("1000000000", None),  # a moment in 2001
        ("1800000050", 50.0),
        ("1800000000.5", 0.5),
        ("1799999999", None),
        ("99999999999", 99_999_999_999 - NOW),
        ("100000000000", None),  # a moment in 1973
        ("1800000050000", 50.0),
        ("1799999999999", None),
        ("99999999999999", 99_999_999_999.999 - NOW),
        ("100000000000000", None),  # not in milliseconds
        ("1800000050000000", None),
    ],
)
def test_the_size_of_a_reset_tells_a_wait_from_a_moment(
    name: str, value: str, seconds: float | None
) -> None:
    assert wait(**{name: value}) == (None if seconds is None else pytest.approx(seconds))


def test_what_is_named_a_wait_is_never_a_moment() -> None:
    assert wait(X_RateLimit_Reset_After="1800000050") == 1_800_000_050
    assert wait(Retry_After="1800000050") == 1_800_000_050


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        # draft 07
        ("limit=100, remaining=0, reset=50", 50.0),
        ("limit=100,remaining=0,reset=50;comment=x", 50.0),
        ("limit=100, reset=50", 50.0),
        ("limit=100, remaining=5, reset=50", None),
        ("limit=100, remaining=0, reset=0", None),
        ("limit=100, remaining=0", None),
        # draft 08 and later
        ('"default";r=0;t=30', 30.0),
        ('"default"; r=0; t=30', 30.0),
        ("default;r=0;t=30", 30.0),
        ('"default";r=5;t=30', None),
        ('"default";r=0', None),
        ('"default";t=30', 30.0),
        ('"burst";r=0;t=2, "day";r=0;t=3600', 3600.0),
        ('"burst";r=0;t=2, "day";r=900;t=3600', 2.0),
        ('"burst";r=0;t=2, "day";t=3600', 2.0),
        ('"burst";r=4;t=2, "day";r=900;t=3600', None),
        ('"a, b;r=5;t=99";r=0;t=30', 30.0),
        ('"default";r=0;t=30;pk=:dHJpYWw=:', 30.0),
        # neither
        ("", None),
        ('"', None),
        (",;=,;;==", None),
        ('"default";r=0;t=soon', None),
        ('"default";r=0;t=-30', None),
    ],
)
def test_the_structured_field_of_each_draft(value: str, seconds: float | None) -> None:
    assert wait(RateLimit=value) == seconds


def test_a_structured_field_may_go_on_in_the_next_line() -> None:
    assert wait(RateLimit=["limit=100, remaining=5", "reset=50"]) is None
    assert wait(RateLimit=["limit=100, remaining=0", "reset=50"]) == 50
    assert wait(RateLimit=['"burst";r=0;t=2', '"day";r=0;t=3600']) == 3600


@pytest.mark.parametrize(
    ("reset", "remaining"),
    [
        ("RateLimit_Reset", "RateLimit_Remaining"),
        ("X_RateLimit_Reset_After", "X_RateLimit_Remaining"),
        ("X_RateLimit_Reset", "X_RateLimit_Remaining"),
        ("X_Rate_Limit_Reset", "X_Rate_Limit_Remaining"),
    ],
)
def test_the_reset_of_a_limit_of_which_something_is_left_says_nothing(
    reset: str, remaining: str
) -> None:
    assert wait(**{reset: "50", remaining: "1"}) is None
    assert wait(**{reset: "50", remaining: "0"}) == 50
    assert wait(**{reset: "50", remaining: "-3"}) == 50
    assert wait(**{reset: "50", remaining: "plenty"}) == 50
    assert wait(**{reset: "50", remaining: ["7", "0"]}) == 50
    assert wait(**{reset: "50", "X_Other_Remaining": "1", "Retry_After": "9"}) == 9


def test_what_is_left_of_one_limit_says_nothing_of_another_one() -> None:
    assert wait(RateLimit_Reset="50", RateLimit_Remaining="1", X_RateLimit_Reset="20") == 20
    assert wait(X_Rate_Limit_Reset="50", X_RateLimit_Remaining="1") == 50


# Together


def test_the_first_header_that_says_something_decides() -> None:
    headers = {
        "Retry-After": "1",
        "RateLimit-Reset": "2",
        "RateLimit": '"default";r=0;t=3',
        "X-RateLimit-Reset-After": "4",
        "X-RateLimit-Reset": "5",
        "X-Rate-Limit-Reset": "6",
    }
    for seconds, name in enumerate(list(headers), start=1):
        value = headers[name]
        expected = Asked(seconds=seconds, header=f"{name}: {value}")
        assert wait_asked(Headers(headers), NOW) == expected
        headers[name] = "0"
    assert wait_asked(Headers(headers), NOW) is None
    assert wait_asked(Headers(), NOW) is None


def test_the_header_is_fit_for_a_log_line() -> None:
    lines = b'"\x1b[31m\r\nred\x00\x85\xa0";r=0;t=30' + b";x=y" * 100
    asked = wait_asked(Headers({"RateLimit": lines}), NOW)
    assert asked is not None
    assert asked.header.startswith('RateLimit: "[31mred";r=0;t=30;x=y')
    assert len(asked.header) == 80
    assert asked.header.isprintable()


def test_a_long_header_is_read_in_no_time() -> None:
    # Were it quadratic, this would take minutes.
    for line in ('"' * 500_001, '"\\' * 200_000, "9-a" * 200_000, "a;r=0" * 100_000):
        assert wait(RateLimit=line, Retry_After=line, X_RateLimit_Reset=line) is None


_numbers = st.one_of(
    st.integers(-10, 10**20).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
)
_dates = st.tuples(
    st.sampled_from(["", "Fri, ", "Friday, ", "Fri ", ","]),
    st.lists(
        st.one_of(
            st.integers(-1, 100_000).map(str),
            st.sampled_from(
                [
                    "15",
                    "Jan",
                    "27",
                    "2027",
                    "08:01:30",
                    "8.1.3",
                    ":",
                    "GMT",
                    "+0100",
                    "15-Jan-27",
                    ",",
                ]
            ),
            st.text("0123456789:+-., JanGMT", max_size=8),
        ),
        max_size=7,
    ).map(" ".join),
).map("".join)
_limits = st.text('"\\,;= rt0123456789remaining', max_size=60)


@given(
    st.dictionaries(
        st.sampled_from(HEADERS),
        st.lists(
            st.one_of(
                st.binary(max_size=60),
                st.one_of(_numbers, _dates, _limits).map(lambda text: text.encode()),
            ),
            max_size=3,
        ),
        max_size=4,
    ),
    st.floats(0, 4e9),
)
@example({"Retry-After": [b"Fri, 15-Jan-00 00:00:00 +2359"]}, 0.0)
def test_whatever_comes_is_a_finite_wait_or_none(
    headers: dict[str, list[bytes]], now: float
) -> None:
    asked = wait_asked(Headers(headers), now)
    if asked is not None:
        assert asked.seconds > 0
        assert isfinite(asked.seconds)
        assert asked.header.isprintable()
        assert len(asked.header) <= 80
        assert asked.header.partition(": ")[0] in headers
