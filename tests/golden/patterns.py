"""What of a crawl varies from run to run or from machine to machine, and what stands in its place.

All of it is here. Whatever no pattern names is compared to the letter.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What stands for a value that varies. That there is one is compared.
VARIES = "<varies>"

#: Keys whose values are times, or follow from how fast the machine is: of stats, the stats file, the
#: request log, the report, the live page, signals and the file in ``JOBDIR``. A value of ``None`` stays.
KEYS = re.compile(
    r"""
    # Stats of Scrapy's. The bytes depend on its version.
    start_time | finish_time | elapsed_time_seconds | downloader/request_bytes
    # Stats
    | proxybalance/concurrency/estimate | proxybalance/retries/seconds_held
    | proxybalance/target/[^/]+/seconds_paused
    # Stats file
    | latency_p50 | latency_p95 | score | seconds_paused
    # Request log
    | timestamp | latency | duration | waited
    # Report
    | latency_avg
    # Live page
    | seconds | seconds_left | cooldown_left | p95 | history
    # Signals: seconds, as above. JOBDIR:
    | until | pause | rate | observed
    """,
    re.VERBOSE,
)

#: Keys that are ``None`` in a crawl that was over within a second.
KEYS_OR_NONE = re.compile(r"items_per_minute | responses_per_minute", re.VERBOSE)

#: Stats that are left out while they are 0 to a digit or two, and what they are then.
ROUNDED_AWAY = {"proxybalance/concurrency/estimate": 0.0}

#: Keys that are left out: how often each exception of Scrapy's or Twisted's was raised. Their names
#: depend on the version of Scrapy.
LEFT_OUT = re.compile(r"\w+/(exception_type_count|reason_count)/(scrapy|twisted)\..*")

#: Samples of the metrics port whose values do.
SAMPLES = re.compile(
    r"""
    (proxybalance_score\{.*
    | proxybalance_(request_latency|wait)_seconds_sum\{.*
    | proxybalance_(request_latency|wait)_seconds_bucket\{le="[0-9.]+".*)
    \s\S+
    """,
    re.VERBOSE,
)

#: In any text: lines of the log, of the report, of metrics.
TEXTS = (
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "<date>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r" +[\d.]+ ms\b"), " <ms>"),
    # What is measured, or drawn by chance around what is set; longer times are as they are set.
    (re.compile(r"\b\d{1,2} s\b"), "<seconds>"),
    (re.compile(r"\b\d{3} s\b"), "<hundreds of seconds>"),
    # What is no server of the test's: the metrics port.
    (re.compile(r"(?<=\bhttp://127\.0\.0\.1:)\d+"), "<port>"),
)

#: What a request says of Scrapy and its libraries, not of the product.
HEADERS = re.compile(r"accept|accept-encoding|accept-language|user-agent")


class Plain:
    """Puts names in the place of what varies, the same ones in all crawls of a job."""

    def __init__(self) -> None:
        self._names: Mapping[str, str] = {}
        self._runs: dict[str, str] = {}

    def document(self, seen: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """Return all that was seen of a crawl, to be compared with another one's.

        Rows become texts, as the order of their columns is compared as well.

        :param names: what stands for which text, as for a server's address.
        """
        self._names = names
        for stats in (seen["stats"], seen["stats_file"]["stats"]):
            for key, nothing in ROUNDED_AWAY.items():
                stats.setdefault(key, nothing)
        plain: dict[str, Any] = self._value(seen, "")
        plain["log"] = [line for text in plain["log"] for line in text.splitlines()]
        plain["metrics"] = [
            f"{line.rpartition(' ')[0]} {VARIES}" if SAMPLES.fullmatch(line) else line
            for line in plain["metrics"]
        ]
        for section in ("signals", "request_log", "report_csv"):
            plain[section] = [json.dumps(row) for row in plain[section]]
        return plain

    def _value(self, value: Any, key: str) -> Any:
        if KEYS_OR_NONE.fullmatch(key) or (value is not None and KEYS.fullmatch(key)):
            return VARIES
        if isinstance(value, dict):
            if "score" in value and "slowness" in value:
                # A score with what it is made of.
                return {**dict.fromkeys(value, VARIES), "proxy": self._text(value["proxy"])}
            return {
                self._text(name): self._value(one, name)
                for name, one in value.items()
                if not LEFT_OUT.fullmatch(name)
            }
        if isinstance(value, list):
            return [self._value(one, "") for one in value]
        if key == "request_id":
            run, _, number = value.partition("-")
            return f"{self._runs.setdefault(run, f'<run {len(self._runs) + 1}>')}-{number}"
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for varying, name in self._names.items():
            text = text.replace(varying, name)
        for pattern, name in TEXTS:
            text = pattern.sub(name, text)
        return text
