"""``PROXYBALANCE_PROXY_MARKS``: what users write, and what they are told when it cannot work."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.http.marks import BUILT_IN, MEANINGS, Mark
from scrapy_proxybalance.plugin.config.settings import read_one

NAME = "PROXYBALANCE_PROXY_MARKS"


def read(value: Any) -> tuple[Mark, ...]:
    marks = read_one(ScrapySettings({NAME: value}), "PROXY_MARKS")
    assert marks[len(marks) - len(BUILT_IN) :] == BUILT_IN
    return tuple(marks[: -len(BUILT_IN)])


def test_without_the_setting_the_built_in_marks_hold() -> None:
    assert read_one(ScrapySettings(), "PROXY_MARKS") == BUILT_IN
    assert read([]) == read("") == read("[]") == ()


def test_a_mark_is_read_as_it_is_written() -> None:
    whole = {
        "header": "X-Gate-Error",
        "value": "used up",
        "status": 502,
        "body": "no traffic",
        "verdict": "traffic_used_up",
    }
    assert read([whole]) == (
        Mark(
            header="X-Gate-Error",
            value="used up",
            statuses=frozenset((502,)),
            body="no traffic",
            verdict="traffic_used_up",
        ),
    )


def test_what_is_left_out_is_a_page_of_the_proxys_own_with_any_error_status() -> None:
    assert read([{"header": "X-Gate-Error"}]) == (Mark(header="X-Gate-Error"),)


def test_the_same_may_be_written_as_json() -> None:
    value = [{"header": "X-Gate-Error", "status": ["52x", 490]}]
    assert read(json.dumps(value)) == read(value)


@pytest.mark.parametrize(
    ("status", "statuses"),
    [
        (503, [503]),
        ("503", [503]),
        ("59x", range(590, 600)),
        ("5xx", range(500, 600)),
        ([490, "45x"], [490, *range(450, 460)]),
    ],
)
def test_a_status_may_be_one_or_ten_or_a_hundred_or_a_list(status: Any, statuses: Any) -> None:
    assert read([{"status": status}])[0].statuses == frozenset(statuses)


@pytest.mark.parametrize("verdict", MEANINGS)
def test_every_verdict_can_be_written(verdict: str) -> None:
    assert read([{"body": "x", "verdict": verdict}])[0].verdict == verdict


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, [NAME, "5", "write a list like"]),
        ({"header": "X"}, [NAME, "write a list like"]),
        ("X-Gate-Error", [NAME, "no JSON", "write a list like"]),
        ('{"header": "X"}', [NAME, "write a list like"]),
        (["X-Gate-Error"], [f"{NAME}[0]", "'X-Gate-Error'", "write a list like"]),
        ([{"header": "X"}, {}], [f"{NAME}[1]", "'header', 'status' and 'body'"]),
        ([{"verdict": "proxy"}], [f"{NAME}[0]", "'header', 'status' and 'body'"]),
        ([{"heder": "X"}], [f"{NAME}[0]", "'heder'", "header"]),
        ([{"status": 500, "value": "x"}], [f"{NAME}[0]", "'value'", "'header'"]),
        ([{"header": ""}], [f"{NAME}[0]['header']", "''", "not empty"]),
        ([{"header": 7}], [f"{NAME}[0]['header']", "7", "not empty"]),
        ([{"header": "X", "value": 7}], [f"{NAME}[0]['value']", "7", "not empty"]),
        ([{"body": b"x"}], [f"{NAME}[0]['body']", "b'x'", "not empty"]),
        ([{"status": 50}], [f"{NAME}[0]['status']", "50", "'59x'"]),
        ([{"status": "x5x"}], [f"{NAME}[0]['status']", "'x5x'", "'59x'"]),
        ([{"status": True}], [f"{NAME}[0]['status']", "True", "'59x'"]),
        ([{"status": [500, None]}], [f"{NAME}[0]['status']", "None", "'59x'"]),
        ([{"status": 500, "verdict": "bad"}], [f"{NAME}[0]['verdict']", "'bad'", *MEANINGS]),
        ([{"status": 500, "verdict": ["proxy"]}], [f"{NAME}[0]['verdict']", "write one of"]),
    ],
)
def test_what_cannot_work_is_an_error_that_says_where_and_how_to_correct_it(
    value: Any, said: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(value)
    assert all(words in str(caught.value) for words in said), caught.value
