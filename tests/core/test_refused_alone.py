"""A target that refuses one proxy and serves the others, and one that refuses a share of its pages."""

from __future__ import annotations

from random import Random

import pytest

from scrapy_proxybalance.core.attribution.refusals import Refusals

SITE = "shop.test"


def answers(
    proxies: int, requests: int, share: float, *, seed: int, alone: str = "", page: bool = True
) -> list[tuple[str, int]]:
    """Crawl a site that refuses a share of its pages; return who was taken to be refused alone.

    :param alone: the proxy that is refused all of them: the crawl ends when it is found.
    :return: the proxies with the number of requests that they had sent by then.
    """
    rng, refusals, found = Random(seed), Refusals(), []
    sent: dict[str, int] = {}
    for now in range(requests):
        name = f"p{rng.randrange(proxies)}"
        sent[name] = sent.get(name, 0) + 1
        if name != alone and rng.random() >= share:
            refusals.useful(SITE, name)
        elif refusals.alone(SITE, name, started_at=now, now=now + 0.5, of_all=not page):
            found.append((name, sent[name]))
            if name == alone:
                break
    return found


@pytest.mark.parametrize("share", [0.05, 0.2, 0.25, 0.5])
@pytest.mark.parametrize("proxies", [2, 3, 5, 20])
def test_a_site_that_refuses_a_share_of_its_pages_refuses_nobody_alone(
    proxies: int, share: float
) -> None:
    found = [answers(proxies, 1500, share, seed=seed) for seed in range(20)]
    assert sum(map(len, found)) <= 1


@pytest.mark.parametrize("share", [0.0, 0.02])
@pytest.mark.parametrize("proxies", [5, 20, 50])
def test_a_proxy_that_alone_is_refused_is_found_within_a_few_requests(
    proxies: int, share: float
) -> None:
    for seed in range(20):
        [(name, requests)] = answers(proxies, 5000, share, seed=seed, alone="p0")
        assert name == "p0"
        assert requests <= 6


def test_one_that_alone_is_refused_is_found_where_others_are_refused_a_share_as_well() -> None:
    found = [answers(5, 5000, 0.2, seed=seed, alone="p0")[-1] for seed in range(20)]
    assert {name for name, _ in found} == {"p0"}
    assert max(requests for _, requests in found) <= 12


def test_a_site_that_begins_to_refuse_most_pages_refuses_nobody_alone() -> None:
    rng, refusals = Random(1), Refusals()
    alone = 0
    refusals.alone(SITE, "p9", started_at=0, now=0, of_all=False)
    for now in range(2000):
        name = f"p{rng.randrange(5)}"
        if rng.random() >= (0.0 if now < 1000 else 0.6):
            refusals.useful(SITE, name)
        else:
            alone += refusals.alone(SITE, name, started_at=now, now=now, of_all=False)
    assert alone == 0


def test_while_nobody_else_is_served_nobody_is_refused_alone() -> None:
    refusals = Refusals()
    for now in range(50):
        assert not refusals.alone(SITE, "p0", started_at=now, now=now, of_all=False)
    for _ in range(4):
        refusals.useful(SITE, "p1")
    assert not refusals.alone(SITE, "p0", started_at=50, now=50, of_all=False)


def test_refusals_of_one_burst_that_are_about_all_that_is_asked_are_one() -> None:
    refusals = Refusals()
    refusals.alone(SITE, "p0", started_at=0, now=1, of_all=True)
    for _ in range(40):
        refusals.useful(SITE, "p1")
    for _ in range(9):
        assert not refusals.alone(SITE, "p0", started_at=0.5, now=1, of_all=True)
    assert refusals.alone(SITE, "p0", started_at=2, now=3, of_all=True)


def test_a_429_that_hits_whoever_asks_at_that_moment_is_for_nobody_alone() -> None:
    rng, refusals = Random(2), Refusals()
    for now in range(3000):
        name = f"p{rng.randrange(3)}"
        if now % 50 == 49:
            assert not refusals.alone(SITE, name, started_at=now, now=now, of_all=True)
        else:
            refusals.useful(SITE, name)
