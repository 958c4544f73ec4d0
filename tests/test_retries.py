"""Retries in the scheduler's queue, in virtual time: when each may go, and what is no retry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Request
from scrapy.http import Response
from scrapy.squeues import FifoMemoryQueue, PickleFifoDiskQueue

from scrapy_proxybalance import ProxyBalanceQueue
from scrapy_proxybalance.http.answer import HttpAnswer
from scrapy_proxybalance.plugin import request_meta

from .test_admission_order import SETTINGS, Crawl, numbered, pop_all, url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scrapy.pqueues import DownloaderAwarePriorityQueue

#: One retry at once, and one more every ten seconds.
FEW: dict[str, Any] = {
    "PROXYBALANCE_RETRY_DELAY": 0,
    "PROXYBALANCE_RETRY_BUDGET": 0.5,
    "PROXYBALANCE_RETRY_BUDGET_MIN": 0.1,
}
#: Any number at once, after some seconds each.
LATER: dict[str, Any] = {
    "PROXYBALANCE_RETRY_DELAY": 8,
    "PROXYBALANCE_RETRY_BUDGET_MIN": 10_000,
}


@pytest.fixture
def crawl_with() -> Iterator[Callable[..., Crawl]]:
    made: list[Crawl] = []

    def make(settings: dict[str, Any]) -> Crawl:
        made.append(Crawl(**settings))
        return made[-1]

    yield make
    for crawl in made:
        crawl.close()


def queue_of(crawl: Crawl) -> DownloaderAwarePriorityQueue:
    return crawl.queue(ProxyBalanceQueue, FifoMemoryQueue)


def retry(number: int, host: str = "a.test", *, times: int = 1, **meta: Any) -> Request:
    return numbered(number, host, -1, meta={"retry_times": times, **meta})


def unsent(names: int) -> list[str]:
    return [f"a.test/{number}" for number in range(names)]


# The delay


def test_a_retry_waits_and_the_engine_is_woken_when_it_may_go(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(LATER)
    queue = queue_of(crawl)
    pushed_at = crawl.now
    for number in range(20):
        queue.push(retry(number))
    came: list[str] = []
    while len(queue):
        came += pop_all(crawl, queue)
        if len(queue):
            assert crawl.woken_at is not None
            assert crawl.now < crawl.woken_at <= pushed_at + 8
            crawl.now = crawl.woken_at
    assert sorted(came) == sorted(unsent(20))
    assert pushed_at + 4 < crawl.now <= pushed_at + 8


def test_a_retry_that_waits_holds_nothing_else(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(LATER)
    queue = queue_of(crawl)
    queue.push(numbered(0, "a.test", -2, meta={"retry_times": 1}))
    queue.push(numbered(1, "a.test", -2))
    queue.push(numbered(2, "b.test"))
    assert sorted(pop_all(crawl, queue)) == ["a.test/1", "b.test/2"]


def test_without_a_delay_a_retry_goes_at_once(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    queue.push(retry(0))
    assert pop_all(crawl, queue) == ["a.test/0"]


def test_of_very_many_retries_those_beyond_a_thousand_wait_for_no_time(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with({**LATER, "PROXYBALANCE_RETRY_DELAY": 1e9})
    queue = queue_of(crawl)
    for number in range(1010):
        queue.push(retry(number))
    assert len(queue) == 1010
    assert len(pop_all(crawl, queue)) == 10


def test_a_retry_that_no_disk_queue_takes_is_sent_all_the_same(
    crawl_with: Callable[..., Crawl], tmp_path: Path
) -> None:
    crawl = crawl_with(LATER)
    queue = crawl.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path))
    queue.push(retry(0, unpicklable=lambda: None))
    assert queue.pop() is None
    crawl.now += 8
    assert pop_all(crawl, queue) == ["a.test/0"]
    assert len(queue) == 0
    queue.close()


@pytest.mark.parametrize("settings", [FEW, LATER], ids=["for the budget", "for their time"])
def test_retries_that_wait_are_there_when_the_queue_is_opened_again(
    crawl_with: Callable[..., Crawl], tmp_path: Path, settings: dict[str, Any]
) -> None:
    crawl = crawl_with(settings)
    queue = crawl.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path))
    for number in range(10):
        queue.push(retry(number))
    came = pop_all(crawl, queue)
    state = json.loads(json.dumps(queue.close()))
    again = crawl_with(FEW)
    queue = again.queue(ProxyBalanceQueue, PickleFifoDiskQueue, str(tmp_path), state)
    assert len(queue) == 10 - len(came)
    assert len(pop_all(again, queue)) == 1  # they are still retries
    again.now += 1000
    while len(queue):
        came += pop_all(again, queue)
        again.now += 10
    assert sorted([*came, *(one.url[7:] for one in again.under_way[:1])]) == sorted(unsent(10))
    queue.close()


# The budget


def test_retries_beyond_the_budget_wait_and_the_engine_is_woken_for_the_next(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    begun = crawl.now
    for number in range(4):
        queue.push(retry(number, f"{number}.test"))
    came = []
    while len(queue):
        came.append((round(crawl.now - begun), len(pop_all(crawl, queue))))
        if len(queue):
            assert crawl.woken_at is not None
            crawl.now = crawl.woken_at
    assert came == [(0, 1), (10, 1), (20, 1), (30, 1)]
    assert crawl.context.retries.budget.let_out == 4
    assert crawl.context.retries.budget.seconds_held(crawl.now) == pytest.approx(30)


def test_retries_that_wait_for_the_budget_hold_nothing_else(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    for number in range(3):
        queue.push(numbered(number, "a.test", 1, meta={"retry_times": 1}))
    for number in range(3, 6):
        queue.push(numbered(number, "a.test"))
    assert pop_all(crawl, queue) == ["a.test/0", "a.test/3", "a.test/4", "a.test/5"]


def test_a_request_that_is_sent_earns_the_retries_a_share(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    for number in range(3):
        queue.push(retry(number))
    for number in range(3, 5):
        queue.push(numbered(number, "b.test"))
    assert len(pop_all(crawl, queue)) == 3  # a retry, and what is none
    for request in crawl.under_way:
        if request.url.startswith("http://b.test"):
            crawl.send(request)
    assert len(pop_all(crawl, queue)) == 1
    assert len(queue) == 1


def test_a_retry_that_is_sent_earns_nothing(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with({**FEW, "PROXYBALANCE_RETRY_BUDGET": 1})
    queue = queue_of(crawl)
    for number in range(3):
        queue.push(retry(number))
    assert len(pop_all(crawl, queue)) == 1
    crawl.send(crawl.under_way[0])
    assert pop_all(crawl, queue) == []


def test_a_retry_that_gets_its_answer_costs_nothing(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    for number in range(10):
        queue.push(retry(number))
    for _ in range(10):
        [_] = pop_all(crawl, queue)
        [request] = crawl.under_way
        crawl.send(request)
        response = Response(request.url)
        crawl.end(request, answer=HttpAnswer(request, response, wall_now=0.0))
    assert len(queue) == 0


def test_retries_of_a_session_wait_for_the_budget_and_its_other_requests_do_not(
    crawl_with: Callable[..., Crawl],
) -> None:
    proxies = ["http://one.test:8080", "http://two.test:8080"]
    limited = {"PROXYBALANCE_MAX_IN_FLIGHT": 2, "PROXYBALANCE_PROXIES": proxies}
    crawl = crawl_with({**FEW, **limited})
    queue = queue_of(crawl)
    for number in range(2):
        queue.push(numbered(number, "a.test", meta={"session": "s"}))
        pop_all(crawl, queue)
        crawl.send(crawl.under_way[-1])
    for number in range(2, 5):
        queue.push(numbered(number, "a.test", 1, meta={"session": "s", "retry_times": 1}))
    for number in range(5, 7):
        queue.push(numbered(number, "a.test", meta={"session": "s"}))
    assert pop_all(crawl, queue) == []  # the session's proxy is busy: they are set aside
    crawl.now += 1000  # what was earned has faded
    came = []
    while crawl.under_way:
        crawl.end(crawl.under_way[0])
        came += pop_all(crawl, queue)
    assert sorted(came[:3]) == ["a.test/2", "a.test/5", "a.test/6"]
    assert len(queue) == 2


# What is no retry


def gone(crawl: Crawl, queue: DownloaderAwarePriorityQueue) -> Request:
    """Have a retry go, and use the budget up."""
    queue.push(retry(0))
    request = queue.pop()
    assert request is not None
    crawl.begin(request)
    crawl.send(request)
    assert crawl.context.retries.budget.room(crawl.now) == 0
    return request


def test_a_retry_that_the_plugin_itself_sends_again_is_not_charged_twice(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    queue.push(request_meta.resend(gone(crawl, queue)))
    assert pop_all(crawl, queue) == ["a.test/0"]
    assert crawl.context.retries.budget.let_out == 1


def test_where_a_retry_was_redirected_to_is_no_retry(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    queue.push(gone(crawl, queue).replace(url="http://b.test/"))
    assert pop_all(crawl, queue) == ["b.test/"]


def test_a_new_page_with_the_meta_of_a_retried_one_is_no_retry(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    queue.push(Request("http://b.test/next", meta=gone(crawl, queue).meta))
    assert pop_all(crawl, queue) == ["b.test/next"]


def test_the_next_retry_of_a_retry_is_one(crawl_with: Callable[..., Crawl]) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    again = gone(crawl, queue).copy()
    again.meta["retry_times"] += 1
    queue.push(again)
    assert pop_all(crawl, queue) == []


@pytest.mark.parametrize("proxy", [None, "http://my.own:8080"])
def test_a_retry_that_does_not_go_through_the_pool_is_free(
    crawl_with: Callable[..., Crawl], proxy: str | None
) -> None:
    crawl = crawl_with(FEW)
    queue = queue_of(crawl)
    gone(crawl, queue)
    queue.push(retry(1, proxy=proxy))
    assert pop_all(crawl, queue) == ["a.test/1"]


@pytest.mark.parametrize("times", [0, None, -1, "many", 1.5, True])
def test_whatever_else_stands_in_the_place_of_the_count_does_no_harm(
    crawl_with: Callable[..., Crawl], times: Any
) -> None:
    crawl = crawl_with(LATER)
    queue = queue_of(crawl)
    queue.push(retry(0, times=times))
    crawl.now += 100
    assert url_of(queue.pop()) == "http://a.test/0"


def test_the_queues_beside_have_the_names_that_scrapy_gives_them(
    crawl_with: Callable[..., Crawl],
) -> None:
    crawl = crawl_with(SETTINGS)
    queue = queue_of(crawl)
    queue.push(numbered(0, "a.test"))
    assert list(queue.pqueues) == ["a.test"]
