"""Whose a certificate is that does not verify."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from scrapy import Request
from scrapy.http import Response

from scrapy_proxybalance import Outcome, Verdict
from scrapy_proxybalance.core import History, Proxy
from scrapy_proxybalance.core.verdict import CERTIFICATE
from scrapy_proxybalance.plugin.requests.certificates import Certificates

TARGET = "site.example"
URL = f"https://{TARGET}/"
FAILED = Verdict(outcome=Outcome.IGNORED, failure=CERTIFICATE)


def attempt(name: str) -> Any:
    return SimpleNamespace(target=TARGET, proxy=Proxy(host="proxy.example", port=1, name=name))


def judge(certificates: Certificates, name: str) -> tuple[Outcome, bool]:
    """Return whose fault it was, and whether the page may be tried again."""
    request = Request(URL)
    verdict = certificates.judge(request, FAILED, attempt(name), History())
    return verdict.outcome, "dont_retry" not in request.meta


def test_a_second_proxy_is_asked_and_no_third_one() -> None:
    certificates = Certificates()
    assert judge(certificates, "one") == (Outcome.IGNORED, True)
    assert judge(certificates, "one") == (Outcome.IGNORED, True)
    assert judge(certificates, "two") == (Outcome.IGNORED, False)
    assert judge(certificates, "three") == (Outcome.IGNORED, False)


def test_a_lone_proxy_is_asked_three_times() -> None:
    certificates = Certificates()
    judged = [judge(certificates, "one") for _ in range(3)]
    assert [again for _, again in judged] == [True, True, False]


def test_where_others_get_a_good_one_the_proxy_is_suspected_and_others_are_asked() -> None:
    certificates = Certificates()
    judge(certificates, "one")
    judge(certificates, "two")
    certificates.answered(Request(URL), Response(URL), TARGET)
    assert judge(certificates, "one") == (Outcome.AMBIGUOUS, True)


def test_a_page_without_tls_and_one_from_the_cache_show_no_certificate() -> None:
    certificates = Certificates()
    certificates.answered(Request(f"http://{TARGET}/"), Response(URL), TARGET)
    certificates.answered(Request(URL), Response(URL, flags=["cached"]), TARGET)
    assert judge(certificates, "one") == (Outcome.IGNORED, True)


def test_another_failure_is_left_as_it_is() -> None:
    verdict = Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")
    assert Certificates().judge(Request(URL), verdict, attempt("one"), History()) is verdict
