"""The life of an attempt: what it is charged for, that it ends once, and what follows."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scrapy_proxybalance.core import (
    AnyAttempt,
    Attempt,
    Blocked,
    ConfigurationError,
    DirectAttempt,
    Dispatcher,
    History,
    NoProxyMatchesError,
    Outcome,
    Rate,
    RefusalPolicy,
    RetryBudget,
    Step,
    TargetPolicy,
    TargetState,
    Verdict,
    Want,
)

from .helpers import cooling, make_pool, proxies

if TYPE_CHECKING:
    from scrapy_proxybalance.core import Followup, Pool

SITE = "shop.test"
SUCCESS = Verdict(outcome=Outcome.SUCCESS)
RATE_LIMITED = Verdict(outcome=Outcome.TARGET_SIGNAL, failure="429", retry_after=30)
FORBIDDEN = Verdict(outcome=Outcome.TARGET_SIGNAL, failure="403")
LOST = Verdict(outcome=Outcome.AMBIGUOUS, failure="connection_lost")
REFUSED = Verdict(outcome=Outcome.PROXY_FAULT, failure="connection_refused")
CREDENTIALS = Verdict(outcome=Outcome.PROXY_FAULT, failure="proxy_auth")
PAGE = Want(target=SITE)


@attrs.frozen
class Response:
    """An answer of a test: like no other, and with nothing that a proxy would have added."""

    status: int = 200
    url: str = f"http://{SITE}/"
    is_anonymous: bool = True

    def oddity(self) -> str | None:
        return str(self.status) if self.status >= 400 else None

    def looks(self) -> tuple[str, ...]:
        return ()

    def via(self) -> list[str]:
        return []

    def signature(self) -> str:
        return str(self.status)

    def as_the_sites(self) -> Verdict:
        return SUCCESS


def dispatcher_of(
    pool: Pool | None = None, *, on_refusal: RefusalPolicy | None = None, **policy: Any
) -> Dispatcher:
    return Dispatcher(pool or make_pool(proxies(3), **policy), on_refusal=on_refusal)


def start(dispatcher: Dispatcher, want: Want = PAGE, now: float = 0.0) -> Attempt:
    attempt = dispatcher.start(want, now)
    assert isinstance(attempt, Attempt), attempt
    return attempt


def held(dispatcher: Dispatcher, want: Want = PAGE, now: float = 0.0) -> Blocked:
    """Return what blocks a request; asking and trying say the same."""
    asked, tried = dispatcher.blocked(want, now), dispatcher.start(want, now)
    assert isinstance(asked, Blocked)
    assert isinstance(tried, Blocked)
    assert (asked.retry_at, asked.by_target) == (tried.retry_at, tried.by_target)
    return tried


# What it is charged for


def test_an_attempt_is_charged_to_its_proxy_its_target_and_its_session_until_it_ends() -> None:
    dispatcher = dispatcher_of(targets=TargetPolicy(max_in_flight=1))
    attempt = start(dispatcher, Want(target=SITE, session="s"))
    assert dispatcher.pool.in_flight == 1
    assert list(dispatcher.pool.sessions) == [("s", attempt.proxy.name)]
    assert held(dispatcher).by_target
    assert dispatcher.finish(attempt, SUCCESS, 1.0).step is Step.DELIVER
    assert dispatcher.pool.in_flight == 0
    assert dispatcher.blocked(PAGE, 1.0) is None


@pytest.mark.parametrize(
    "want",
    [
        Want(target=SITE, proxy_filter={"name": "nobody"}),
        Want(target=SITE, strategy="unknown"),
    ],
)
def test_an_attempt_that_cannot_be_is_an_error_and_charges_nothing(want: Want) -> None:
    dispatcher = dispatcher_of(targets=TargetPolicy(rate=Rate(1, 10)))
    with pytest.raises((NoProxyMatchesError, ConfigurationError)):
        dispatcher.start(want, 0.0)
    assert dispatcher.pool.in_flight == 0
    assert dispatcher.blocked(PAGE, 0.0) is None  # the rate allows one


def test_where_no_proxy_is_free_the_target_is_charged_nothing() -> None:
    pool = make_pool(proxies(1, max_in_flight=1), targets=TargetPolicy(rate=Rate(1, 10)))
    dispatcher = Dispatcher(pool)
    other = start(dispatcher, Want(target="other.test"))
    assert not held(dispatcher).by_target
    dispatcher.finish(other, SUCCESS, 0.0)
    start(dispatcher)


def test_a_host_and_its_domain_are_one_target() -> None:
    pool = make_pool(proxies(3), targets_by_name={".shop.test": TargetPolicy(max_in_flight=1)})
    dispatcher = Dispatcher(pool)
    assert start(dispatcher, Want(target="www.shop.test")).target == ".shop.test"
    assert held(dispatcher, Want(target="api.shop.test")).by_target


def test_those_that_are_let_out_already_count() -> None:
    dispatcher = dispatcher_of(max_in_flight=1, targets=TargetPolicy(max_in_flight=2))
    assert dispatcher.blocked(PAGE, 0.0, 1) is None
    blocked = dispatcher.blocked(PAGE, 0.0, 2)
    assert blocked is not None
    assert blocked.by_target
    assert dispatcher.blocked(PAGE, 0.0, ahead_of_all=2) is None
    assert dispatcher.blocked(PAGE, 0.0, ahead_of_all=3) is not None


def test_a_direct_request_asks_its_target_and_no_proxy() -> None:
    dispatcher = dispatcher_of(make_pool(proxies(1, max_in_flight=1)))
    start(dispatcher)
    direct = dispatcher.start(Want(target=SITE, direct=True), 0.0)
    assert isinstance(direct, DirectAttempt)
    assert dispatcher.pool.in_flight == 1
    followup = dispatcher.finish(direct, RATE_LIMITED, 1.0, answer=Response(429))
    assert (followup.step, followup.stopped) == (Step.SEND_AGAIN, True)
    assert held(dispatcher, Want(target=SITE, direct=True), 2.0).by_target


def test_retries_are_charged_to_their_budget_and_those_that_are_answered_given_back() -> None:
    pool = make_pool(proxies(3))
    budget = RetryBudget(share=0.0, floor=0.1, now=0.0)
    dispatcher = Dispatcher(pool, retry_budget=budget)
    retry = Want(target=SITE, retry=True)
    first = start(dispatcher, retry)
    assert held(dispatcher, retry).waits_for == "retries"
    assert dispatcher.blocked(PAGE, 0.0) is None
    dispatcher.finish(first, SUCCESS, 0.0, answer=Response())
    second = start(dispatcher, retry)
    dispatcher.finish(second, LOST, 0.0)
    assert held(dispatcher, retry).retry_at == pytest.approx(10.0)
    start(dispatcher, Want(target=SITE, retry=True, overdue=True))
    assert budget.let_out == 3


# It ends once


def test_an_attempt_ends_once() -> None:
    dispatcher = dispatcher_of()
    attempt = start(dispatcher)
    dispatcher.finish(attempt, SUCCESS, 1.0)
    with pytest.raises(ValueError, match="has ended already"):
        dispatcher.finish(attempt, SUCCESS, 1.0)
    dispatcher.cancel(attempt, 1.0)
    assert dispatcher.pool.in_flight == 0


def test_a_cancelled_attempt_teaches_nobody_anything() -> None:
    dispatcher = dispatcher_of()
    before = dispatcher.pool.snapshot(0.0)
    dispatcher.cancel(start(dispatcher), 0.0)
    assert dispatcher.pool.snapshot(0.0) == before
    assert not dispatcher.has_failed


@pytest.mark.parametrize("end", [RATE_LIMITED, FORBIDDEN, LOST, REFUSED, CREDENTIALS, None])
def test_whatever_becomes_of_a_probe_another_one_follows(end: Verdict | None) -> None:
    dispatcher = dispatcher_of(targets=TargetPolicy(pause=10), health=cooling(threshold=100))
    dispatcher.finish(start(dispatcher), RATE_LIMITED, 0.0)
    probe = start(dispatcher, now=50.0)
    assert probe.target_probe
    assert held(dispatcher, now=50.0).by_target  # one at a time
    if end is None:
        dispatcher.cancel(probe, 51.0)
    else:
        dispatcher.finish(probe, end, 51.0)
    assert start(dispatcher, now=500.0).target_probe


# What follows


def test_a_page_is_delivered() -> None:
    dispatcher = dispatcher_of()
    followup = dispatcher.finish(start(dispatcher), SUCCESS, 1.0, answer=Response())
    assert (followup.step, followup.verdict) == (Step.DELIVER, SUCCESS)
    assert dispatcher.answered_at == 1.0


def test_a_429_stops_its_target_and_its_page_goes_again_free() -> None:
    dispatcher = dispatcher_of()
    one, other = start(dispatcher), start(dispatcher)
    followup = dispatcher.finish(one, RATE_LIMITED, 1.0, answer=Response(429))
    assert (followup.step, followup.stopped, followup.close) == (Step.SEND_AGAIN, True, False)
    late = dispatcher.finish(other, RATE_LIMITED, 1.1, answer=Response(429))
    assert (late.step, late.stopped) == (Step.SEND_AGAIN, False)  # the same refusal
    assert dispatcher.pool.targets.state(SITE) is TargetState.PAUSED


def test_a_403_is_delivered_and_the_third_in_a_row_stops_its_target() -> None:
    dispatcher = dispatcher_of()
    ends = []
    for now in range(3):
        attempt = start(dispatcher, now=float(now))
        ends.append(dispatcher.finish(attempt, FORBIDDEN, float(now), answer=Response(403)))
    assert [end.step for end in ends] == [Step.DELIVER] * 3
    assert [end.stopped for end in ends] == [False, False, True]


@pytest.mark.parametrize(
    ("policy", "step", "close", "dropped"),
    [
        ("pause", Step.SEND_AGAIN, False, set()),
        ("drop", Step.DROP, False, {SITE}),
        ("close_spider", Step.SEND_AGAIN, True, set()),
    ],
)
def test_what_follows_a_refusal_is_as_the_policy_says(
    policy: str, step: Step, close: bool, dropped: set[str]
) -> None:
    dispatcher = dispatcher_of(on_refusal=RefusalPolicy(on_rate_limited=policy))
    followup = dispatcher.finish(start(dispatcher), RATE_LIMITED, 1.0, answer=Response(429))
    assert (followup.step, followup.close) == (step, close)
    assert dispatcher.dropped_targets == dropped


def test_a_proxy_that_fails_a_page_is_remembered_with_the_page() -> None:
    dispatcher = dispatcher_of()
    history = History()
    attempt = start(dispatcher)
    followup = dispatcher.finish(attempt, LOST, 1.0, history=history)
    assert followup.step is Step.DELIVER
    assert history.tried == (attempt.proxy.name,)
    assert dispatcher.has_failed


def test_refused_credentials_cost_no_retry_until_they_are_about_the_page() -> None:
    dispatcher = dispatcher_of(make_pool(proxies(8)))
    for number in range(16):
        dispatcher.finish(start(dispatcher), SUCCESS, float(number), answer=Response())
    history, ends = History(), []
    for number in range(20, 26):
        want = Want(target=SITE, avoid=history.tried, strictly=True)
        attempt = start(dispatcher, want, float(number))
        ends.append(dispatcher.finish(attempt, CREDENTIALS, float(number), history=history))
        other = start(dispatcher, Want(target="other.test"), float(number))
        dispatcher.finish(other, SUCCESS, float(number), answer=Response())
        if ends[-1].step is Step.DELIVER:
            break
    assert [end.step for end in ends] == [Step.SEND_AGAIN] * 2 + [Step.DELIVER]
    assert ends[-1].refused_by == 3


def test_an_answer_that_may_be_a_proxys_own_is_asked_for_elsewhere() -> None:
    dispatcher = dispatcher_of()
    verdict = Verdict(outcome=Outcome.PROXY_FAULT, failure="proxy_page", certain=True)
    history = History()
    attempt = start(dispatcher)
    followup = dispatcher.finish(attempt, verdict, 1.0, answer=Response(502), history=history)
    assert followup.step is Step.RETRY
    assert followup.sends_again


def test_where_nobody_else_is_left_to_ask_it_is_delivered() -> None:
    dispatcher = dispatcher_of(make_pool(proxies(1)))
    verdict = Verdict(outcome=Outcome.PROXY_FAULT, failure="proxy_page", certain=True)
    followup = dispatcher.finish(start(dispatcher), verdict, 1.0, answer=Response(502))
    assert followup.step is Step.DELIVER


def test_what_was_cut_off_is_sent_again_free_whatever_else_follows() -> None:
    dispatcher = dispatcher_of()
    verdict = Verdict(outcome=Outcome.AMBIGUOUS, failure="timeout")
    history = History()
    followup = dispatcher.finish(start(dispatcher), verdict, 9.0, cut_off=True, history=history)
    assert followup.step is Step.SEND_AGAIN
    assert len(history.tried) == 1


def test_an_attempt_gets_a_shorter_timeout_once_its_target_is_known_and_a_probe_does_not() -> None:
    dispatcher = dispatcher_of(timeout_min=0.5)
    want = Want(target=SITE, timeout=60.0)
    assert start(dispatcher, want).timeout is None
    for number in range(40):
        attempt = start(dispatcher, want, float(number))
        dispatcher.finish(attempt, SUCCESS, number + 0.5, duration=0.5, answer=Response())
    timeout = start(dispatcher, want, 41.0).timeout
    assert timeout is not None
    assert 0.5 <= timeout < 60.0
    dispatcher.finish(start(dispatcher, want, 42.0), RATE_LIMITED, 42.0)
    probe = start(dispatcher, want, 1000.0)
    assert (probe.target_probe, probe.timeout) == (True, None)


# Whatever happens

VERDICTS = [SUCCESS, RATE_LIMITED, FORBIDDEN, LOST, REFUSED, CREDENTIALS]


class Lives(RuleBasedStateMachine):
    """Attempts start, finish and are cancelled, in any order, at several targets."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        pool = make_pool(
            proxies(4, max_in_flight=2),
            targets=TargetPolicy(max_in_flight=3, pause=5),
            health=cooling(first=5.0, longest=20.0),
        )
        self.budget = RetryBudget(share=0.2, floor=0.5, now=0.0)
        self.dispatcher = Dispatcher(pool, retry_budget=self.budget)
        self.out: list[AnyAttempt] = []
        self.rng = Random(1)

    wants = st.builds(
        Want,
        target=st.sampled_from(["a.test", "b.test"]),
        session=st.sampled_from([None, None, "s"]),
        retry=st.booleans(),
        direct=st.sampled_from([False, False, False, True]),
    )

    @rule(want=wants)
    def start(self, want: Want) -> None:
        if want.direct and want.retry:
            return  # the plugin asks for no such thing
        blocked = self.dispatcher.blocked(want, self.now)
        before = self.dispatcher.pool.in_flight, self.budget.let_out
        attempt = self.dispatcher.start(want, self.now)
        assert (blocked is None) is not isinstance(attempt, Blocked)
        if isinstance(attempt, Blocked):
            assert before == (self.dispatcher.pool.in_flight, self.budget.let_out)
            assert attempt.retry_at is None or attempt.retry_at > self.now
        else:
            self.out.append(attempt)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS), responded=st.booleans())
    def finish(self, data: st.DataObject, verdict: Verdict, responded: bool) -> None:
        attempt = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        answered = responded or verdict.outcome in (Outcome.SUCCESS, Outcome.TARGET_SIGNAL)
        answer = Response(200 if verdict is SUCCESS else 502) if answered else None
        followup: Followup = self.dispatcher.finish(attempt, verdict, self.now, answer=answer)
        assert attempt.ended
        assert not (followup.step is Step.SEND_AGAIN and followup.verdict.failure == "403")

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        attempt = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.dispatcher.cancel(attempt, self.now)
        assert attempt.ended

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def what_is_out_is_counted_once(self) -> None:
        pool = self.dispatcher.pool
        assert pool.in_flight == sum(isinstance(one, Attempt) for one in self.out)
        for target in ("a.test", "b.test"):
            out = sum(one.target == target for one in self.out)
            assert pool.targets.limit(target, self.now)[1] == out
            assert out <= 3

    def teardown(self) -> None:
        """In the end, everything can go again."""
        for attempt in self.out:
            self.dispatcher.cancel(attempt, self.now)
        suspended = {
            target
            for target, state, _ in self.dispatcher.pool.targets
            if state is TargetState.SUSPENDED
        }
        for target in {"a.test", "b.test"} - suspended:
            attempt = self.dispatcher.start(Want(target=target, direct=True), self.now + 1e6)
            assert isinstance(attempt, DirectAttempt)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
