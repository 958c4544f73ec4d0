"""Bad settings stop a crawl before its first request, with what is wrong, where, and how to mend it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginResponse
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError
from scrapy_proxybalance.plugin.config.settings import Settings

from .crawling import UrlsSpider, crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scrapy import Request

PASSWORD = "s3cr3t"
GOOD = "http://127.0.0.1:8080"
WRITE = "write 'http://user:password@host:port'"


def read(**settings: Any) -> Settings:
    """Read settings, given without their prefix, with one good proxy unless others are given."""
    given = {"PROXIES": [GOOD], **settings}
    return Settings.read(
        ScrapySettings({f"PROXYBALANCE_{name}": value for name, value in given.items()})
    )


def error_of(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(**settings)
    message = str(raised.value)
    assert PASSWORD not in message
    return message


@pytest.mark.parametrize(
    ("entry", "wrong", "mend"),
    [
        ("http://[::1:8080", "'http://[::1:8080'", "http://host:port"),
        ("http://", "names no host", "http://host:port"),
        ("http://:8080", "names no host", "http://host:port"),
        ("what is this", "there is a blank in it", "http://user:password@host:port"),
        ("ftp://proxy.example:2121", "unknown scheme 'ftp'", "http, https, socks4, socks5"),
        ("http://proxy.example", "names no port", "http://proxy.example:PORT"),
        ("proxy.example", "names no port", "http://proxy.example:PORT"),
        ("http://proxy.example:web", "port", "http://host:port"),
        ("http://proxy.example:99999", "1..65535", "http://host:port"),
        ("http://proxy.example:0", "port 0", "1..65535"),
        ("http://proxy.example:8080/list", "something behind the port", "http://host:port"),
        ("http://proxy.example:8080?key=1", "something behind the port", "http://host:port"),
        ("http://user-{session}:x@proxy.example:80", "placeholder", "your provider's value"),
        ("http://<user>:x@proxy.example:80", "placeholder", "your provider's value"),
        ("http://$USER:x@proxy.example:80", "placeholder", "your provider's value"),
        ("proxy.example:80:alice:s3cr3t", "host:port:user", "http://user:password@host:port"),
        ("http://alice:s3cr3t@proxy.example", "'http://***@proxy.example'", ":PORT"),
        ("http://alice:s3cr3t@proxy.example:web", "'http://***@proxy", "http://host:port"),
        ("gopher://alice:s3cr3t@proxy.example:70", "unknown scheme", "http, https"),
        ("http://alice:s3cr3t@{host}:80", "placeholder", "your provider's value"),
        ("http://alice:my s3cr3t@proxy.example:80", "a blank in it", "percent-encoded"),
        ("http://alice:s3cr3t/x@proxy.example:80", "a '/' in the username", "percent-encode"),
        ("http://alice:s3cr3t#x@proxy.example:80", "a '#' in the username", "write '%23'"),
        ("http://us#s3cr3t:x@proxy.example:80", "a '#' in the username", "write '%23'"),
        # Forms of providers' lists.
        ("alice:s3cr3t:proxy.example:80", "looks like user:password:host:port", WRITE),
        ("http://1.2.3.4:80:alice:s3cr3t", "looks like host:port:user:password", WRITE),
        ("1.2.3.4:80:1234:5678", "looks like host:port:user:password", WRITE),
        ("1.2.3.4:80@alice:s3cr3t", "looks like host:port@user:password", WRITE),
        ("1.2.3.4:80:s3cr3t", "something behind the port", WRITE),
        ("1.2.3.4:80:alice:s3:cr:s3cr3t", "host:port:user:password or the other way", WRITE),
        ("proxy.example,80,alice,s3cr3t", "fields separated by ','", WRITE),
        ("proxy.example;80;alice;s3cr3t", "fields separated by ';'", WRITE),
        ("1.2.3.4:80|alice|s3cr3t", "fields separated by '|'", WRITE),
        ("us:s3cr3t", "'us:***': what stands behind the host is not a port", WRITE[6:]),
        ("2001:db8::1:8080", "in brackets", "http://[address]:port"),
        # Slips.
        ("'http://alice:s3cr3t@1.2.3.4:80',", "a quote, a bracket, a comma", "the URL alone"),
        ("<http://1.2.3.4:80>", "a quote, a bracket, a comma", "the URL alone"),
        ("http_proxy=http://1.2.3.4:80", "before the scheme", "the URL alone"),
        ("http://http://1.2.3.4:80", "two schemes", "http://host:port"),
        ("socks5:1.2.3.4:80", "the scheme is not written right", "socks5://host:port"),
        ("http//1.2.3.4:80", "the scheme is not written right", "http://host:port"),
        ("s3cr3t", "'***' names no port", "http://host:PORT"),
        ({"url": GOOD, "contry": "de"}, "unknown key 'contry'", "did you mean 'country'?"),
    ],
)
def test_an_entry_that_is_no_proxys_url_is_refused(entry: Any, wrong: str, mend: str) -> None:
    message = error_of(PROXIES=[GOOD, "http://127.0.0.1:8081", entry])
    assert "PROXYBALANCE_PROXIES[2]" in message
    assert wrong in message
    assert mend in message


@pytest.mark.parametrize(
    "entry",
    [
        "proxy.example:80:alice:s3cr3t",
        "alice:s3cr3t:proxy.example:80",
        "http://proxy.example:80:alice:s3cr3t",
        "http://alice:s3cr3t:proxy.example:80",
        "http://alice:s3cr3t://word@proxy.example:eighty",
        "http://alice:pa$s3cr3t@proxy.example:80",
        "http://alice:{s3cr3t}@proxy.example:80",
        "http://alice:<s3cr3t>@proxy.example:80",
        "http:// alice:s3cr3t@proxy.example:80",
        "alice:s3cr3t@proxy.example",
        "//alice:s3cr3t@proxy.example:80",
        "http//alice:s3cr3t@proxy.example:80",
        "http://alice:s3cr3t@proxy.example:80:90",
        "http://proxy.example:80?user=alice&password=s3cr3t",
        "http://proxy.example:80/alice/s3cr3t",
        "http://proxy.example:80#s3cr3t",
    ],
)
def test_no_way_to_write_a_password_wrong_brings_it_into_the_error(entry: str) -> None:
    assert "PROXYBALANCE_PROXIES[0]" in error_of(PROXIES=[entry])
    assert "PROXYBALANCE_PROXIES[0]" in error_of(PROXIES=[{"url": entry}])


def test_a_setting_that_is_none_has_its_default() -> None:
    assert read(MAX_IN_FLIGHT=None, STRATEGY=None).policy == read().policy


@pytest.mark.parametrize(
    ("entry", "wrong", "mend"),
    [
        (None, "type NoneType", "http://host:port"),
        (8080, "type int", "http://host:port"),
        (("proxy.example", 8080), "type tuple", "http://host:port"),
        ({}, "the key 'url' is missing", "http://host:port"),
        ({"host": "proxy.example", "port": 80}, "unknown key 'host'", "use url, name"),
        ({"url": None}, "the key 'url' is missing", "http://host:port"),
        ({"url": GOOD, "contry": "de"}, "unknown key 'contry'", "country"),
        ({"url": GOOD, "max_in_flight": -1}, "max_in_flight -1", "above 0"),
        ({"url": GOOD, "max_in_flight": 0}, "max_in_flight 0", "above 0"),
        ({"url": GOOD, "max_in_flight": 1.5}, "max_in_flight 1.5", "whole number"),
        ({"url": GOOD, "max_in_flight": True}, "max_in_flight True", "above 0"),
        ({"url": GOOD, "weight": 0}, "weight 0", "above 0"),
        ({"url": GOOD, "weight": "heavy"}, "weight 'heavy'", "above 0"),
        ({"url": GOOD, "rate": "fast"}, "'fast' is not a rate", "'30/min'"),
        ({"url": GOOD, "rate": 30}, "rate 30 is not a rate", "'30/min'"),
        ({"url": GOOD, "name": ""}, "name", "text that is not empty"),
        ({"url": GOOD, "tags": 7}, "tags 7", "list of texts"),
        (
            {"url": "http://proxy.example:80", "username": "alice", "password": ["s3cr3t"]},
            "password",
            "text that is not empty",
        ),
    ],
)
def test_an_entry_of_the_wrong_kind_is_refused(entry: Any, wrong: str, mend: str) -> None:
    message = error_of(PROXIES=["http://127.0.0.1:8081", entry])
    assert "PROXYBALANCE_PROXIES[1]" in message
    assert wrong in message
    assert mend in message


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("ENABLED", "maybe", "True or False"),
        ("PROXIES", {"one": GOOD}, "a list of URLs or dicts"),
        ("PROXIES", 8080, "a list of URLs or dicts"),
        ("PROXIES_FILE", 7, "not empty"),
        ("STRATEGY", "best", "'weighted'"),
        ("MAX_IN_FLIGHT", 0, "at least 1"),
        ("MAX_IN_FLIGHT", -4, "at least 1"),
        ("MAX_IN_FLIGHT", "four", "at least 1"),
        ("MAX_IN_FLIGHT", True, "at least 1"),
        ("MAX_IN_FLIGHT", 2.5, "at least 1"),
        ("RETRY_DELAY", -1, "0 for none"),
        ("RETRY_DELAY", "soon", "0 for none"),
        ("RETRY_DELAY", float("inf"), "0 for none"),
        ("RETRY_BUDGET", -0.1, "a share"),
        ("RETRY_BUDGET", True, "a share"),
        ("RETRY_BUDGET", float("nan"), "a share"),
        ("RETRY_BUDGET_MIN", 0, "above 0"),
        ("RETRY_BUDGET_MIN", "many", "above 0"),
        ("RATE", "fast", "'30/min'"),
        ("RATE", "0/s", "'30/min'"),
        ("RATE", "5/week", "'30/min'"),
        ("RATE", 5, "'30/min'"),
        ("WINDOW", 0, "at least 1"),
        ("FAILURE_THRESHOLD", "-1", "at least 1"),
        ("COOLDOWN", 0, "above 0"),
        ("COOLDOWN", "soon", "above 0"),
        ("COOLDOWN", float("inf"), "above 0"),
        ("COOLDOWN", float("nan"), "above 0"),
        ("COOLDOWN", True, "above 0"),
        ("COOLDOWN", 601, "PROXYBALANCE_COOLDOWN_MAX"),
        ("PAUSE", 7200, "PROXYBALANCE_PAUSE_MAX"),
        ("ACQUIRE_TIMEOUT", -1, "above 0"),
        ("EXHAUSTED_TIMEOUT", "", "above 0"),
        ("SESSION_META_KEY", "", "not empty"),
        ("SESSION_LOST", "panic", "'reassign', 'wait', 'fail'"),
        ("ON_RATE_LIMITED", "retry", "'pause', 'close_spider', 'drop'"),
        ("ON_FORBIDDEN", "ignore", "'pause', 'close_spider', 'drop'"),
        ("FORBIDDEN_THRESHOLD", 0, "at least 1"),
        ("CLASSIFIER", "no.such.module.classify", "cannot be imported"),
        ("CLASSIFIER", "json.no_such_thing", "cannot be imported"),
        ("CLASSIFIER", "classify", "cannot be imported"),
        ("CLASSIFIER", 7, "cannot be imported"),
        (
            "CLASSIFIER",
            "scrapy_proxybalance.plugin.config.settings.PREFIX",
            "a function or a class",
        ),
        ("STATS_FILE", 7, "not empty"),
        ("STATS_PER_PROXY", -1, "at least 1"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused(name: str, value: Any, mend: str) -> None:
    message = error_of(**{name: value})
    assert f"PROXYBALANCE_{name} " in message
    assert mend in message
    if name != "PROXIES":  # of which nothing is shown
        assert repr(value) in message


@pytest.mark.parametrize("proxies", [[], (), "", " , "])
def test_a_pool_without_a_proxy_is_refused(proxies: Any) -> None:
    message = error_of(PROXIES=proxies)
    assert "PROXYBALANCE_PROXIES" in message
    assert "PROXYBALANCE_PROXIES_FILE" in message
    assert "PROXYBALANCE_ENABLED = False" in message


def test_no_setting_at_all_is_refused_as_a_pool_without_a_proxy() -> None:
    with pytest.raises(ConfigurationError, match="PROXYBALANCE_PROXIES"):
        Settings.read(ScrapySettings())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PROXYBALANCE_PROXY", "PROXYBALANCE_PROXIES"),
        ("PROXYBALANCE_MAX_INFLIGHT", "PROXYBALANCE_MAX_IN_FLIGHT"),
        ("PROXYBALANCE_STRATAGY", "PROXYBALANCE_STRATEGY"),
        ("PROXYBALANCE_COOL_DOWN", "PROXYBALANCE_COOLDOWN"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused_with_the_one_that_was_meant(
    name: str, meant: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.read(ScrapySettings({"PROXYBALANCE_PROXIES": [GOOD], name: PASSWORD}))
    assert str(raised.value).startswith(f"{name}: ")
    assert f"did you mean {meant}?" in str(raised.value)
    assert PASSWORD not in str(raised.value)


def test_a_setting_that_resembles_none_is_refused_without_a_guess() -> None:
    message = error_of(XYZZY=1)
    assert message.startswith("PROXYBALANCE_XYZZY: ")
    assert "did you mean" not in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "missing.txt"
    message = error_of(PROXIES=[], PROXIES_FILE=str(path))
    assert "PROXYBALANCE_PROXIES_FILE" in message
    assert str(path) in message
    assert "check the path" in message


def test_a_directory_and_binary_data_are_no_files_of_proxies(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, binary):
        message = error_of(PROXIES_FILE=path)
        assert "PROXYBALANCE_PROXIES_FILE" in message
        assert str(path) in message


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("http://alice:s3cr3t@proxy.example", "names no port"),
        ("proxy.example:80:alice:s3cr3t", "host:port:user"),
        ("http://alice:my s3cr3t@proxy.example:80", "key=value"),
        ("proxy.example:80 s3cr3t", "key=value"),
        ("proxy.example:80 contry=de", "unknown key 'contry'"),
        ("proxy.example:80 rate=fast", "'fast' is not a rate"),
        ("proxy.example:80 max_in_flight=-1", "max_in_flight '-1'"),
    ],
)
def test_a_bad_line_of_a_file_is_refused_with_its_number(
    line: str, wrong: str, tmp_path: Path
) -> None:
    path = tmp_path / "proxies.txt"
    path.write_text(f"# ours\n{GOOD} name=good\n\n{line}\n")
    message = error_of(PROXIES=[], PROXIES_FILE=str(path))
    assert f"{path}, line 4" in message
    assert wrong in message


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("proxy.example:80", "http://proxy.example:80"),
        ("alice:pw@proxy.example:80", "http://alice:pw@proxy.example:80"),
        ("HTTP://1.2.3.4:80/", "http://1.2.3.4:80"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]:80"),
        ("http:p.w:x@1.2.3.4:80", "http://http:p.w%3Ax@1.2.3.4:80"),
        ("http:8080", "http://http:8080"),
        ("alice:a,b;c|d@1.2.3.4:80", "http://alice:a%2Cb%3Bc%7Cd@1.2.3.4:80"),
    ],
)
def test_what_looks_odd_and_is_a_proxys_url_is_read(entry: str, url: str) -> None:
    assert [proxy.url for proxy in read(PROXIES=[entry]).proxies] == [url]


def test_a_file_may_have_comments_behind_entries_and_line_ends_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "proxies.txt"
    path.write_bytes(
        b"# ours\r\n"
        b"proxy-1.example:80 # in Berlin = near\r\n"
        b"\r\n"
        b"  http://proxy-2.example:80\tcountry=de\t#fast name=wrong\r\n"
        b"alice:a#b@proxy-3.example:80 #\r\n".replace(b"a#b", b"a%23b")
    )
    proxies = read(PROXIES=[], PROXIES_FILE=str(path)).proxies
    assert [(one.host, one.country, one.password) for one in proxies] == [
        ("proxy-1.example", None, None),
        ("proxy-2.example", "de", None),
        ("proxy-3.example", None, "a#b"),
    ]
    assert proxies[1].name == "proxy-2.example:80"


@pytest.mark.parametrize(
    "text",
    [
        '["http://alice:s3cr3t@127.0.0.1:8081", {"url": "http://127.0.0.1:8082", "country": "de"}]',
        ' [\n"http://alice:s3cr3t@127.0.0.1:8081",\n{"url": "127.0.0.1:8082", "country": "de"}\n]\n',
    ],
)
def test_a_list_of_proxies_on_the_command_line_may_be_json(text: str) -> None:
    one, two = read(PROXIES=text).proxies
    assert (one.port, one.password) == (8081, PASSWORD)
    assert (two.port, two.country) == (8082, "de")


def test_a_text_that_begins_with_an_ipv6_address_is_no_json() -> None:
    assert [one.host for one in read(PROXIES="[::1]:80,[::2]:80").proxies] == ["::1", "::2"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("['http://alice:s3cr3t@127.0.0.1:8081']", "begins like JSON but is not JSON"),
        ("[http://alice:s3cr3t@127.0.0.1:8081]", "begins like JSON but is not JSON"),
        ('["http://alice:s3cr3t@127.0.0.1:8081"', "begins like JSON but is not JSON"),
        ('{"url": "http://alice:s3cr3t@127.0.0.1:8081"}', "is of type dict: write a list"),
        ('["http://alice:s3cr3t@127.0.0.1"]', "PROXYBALANCE_PROXIES[0]: 'http://***@127.0.0.1'"),
        ("[7]", "PROXYBALANCE_PROXIES[0]: an entry of type int"),
    ],
)
def test_a_list_on_the_command_line_that_is_no_json_is_refused(text: str, wrong: str) -> None:
    assert wrong in error_of(PROXIES=text)


def test_targets_and_gateways_on_the_command_line_are_json() -> None:
    policy = read(
        TARGETS='{"shop.example": {"rate": "2/s", "filter": {"country": ["de"]}}}',
        GATEWAYS='{"*": {"max_in_flight": 7}}',
    ).policy
    assert policy.targets_by_name["shop.example"].rate.requests == 2
    assert policy.gateways.max_in_flight == 7


def test_what_the_command_line_gives_as_texts_is_understood() -> None:
    settings = read(
        ENABLED="True",
        PROXIES=f"{GOOD}, http://alice:{PASSWORD}@127.0.0.1:8081",
        MAX_IN_FLIGHT="7",
        RATE="30/min",
        COOLDOWN="2.5",
        STRATEGY="round_robin",
    )
    assert [(proxy.port, proxy.username) for proxy in settings.proxies] == [
        (8080, None),
        (8081, "alice"),
    ]
    assert settings.policy.max_in_flight == 7
    assert settings.policy.health.cooldown == 2.5
    assert settings.policy.strategy == "round_robin"
    assert (settings.policy.rate.requests, settings.policy.rate.period) == (30, 60)
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize("value", [False, "False", "false", "0", 0])
@crawl_test
async def test_switched_off_it_asks_for_no_proxy_and_does_nothing(value: Any) -> None:
    async with Origin(lambda _: OriginResponse(body=b"page")) as origin:
        crawler = await crawl([f"http://127.0.0.1:{origin.port}/"], {"PROXYBALANCE_ENABLED": value})
        assert [request.via for request in origin.requests] == [None]
    assert len(crawler.spider.responses) == 1
    assert not [key for key in crawler.stats.get_stats() if key.startswith("proxybalance/")]


class Started(UrlsSpider):
    """Takes note of being asked for its requests."""

    asked = False

    async def start(self) -> AsyncIterator[Request]:
        Started.asked = True
        async for request in super().start():
            yield request


async def error_of_crawl(settings: dict[str, Any]) -> str:
    """Return the error of a crawl that must not have sent, nor even asked for, a request."""
    Started.asked = False
    async with Origin(lambda _: OriginResponse(body=b"page")) as origin:
        with pytest.raises(ConfigurationError) as raised:
            await crawl([f"http://127.0.0.1:{origin.port}/"], settings, spider=Started)
        assert origin.requests == []
    assert not Started.asked
    assert PASSWORD not in str(raised.value)
    return str(raised.value)


@crawl_test
async def test_a_crawl_with_a_bad_proxy_fails_before_its_first_request() -> None:
    async with ForwardProxy("good") as good:
        message = await error_of_crawl(
            {"PROXYBALANCE_PROXIES": [good.url(), f"http://alice:{PASSWORD}@127.0.0.1"]}
        )
        assert good.requests == []
    assert "PROXYBALANCE_PROXIES[1]" in message


@pytest.mark.parametrize(
    ("entries", "wrong", "mend"),
    [
        (
            [
                {"url": "http://127.0.0.1:1001", "name": "one"},
                {"url": "http://127.0.0.1:1002", "name": "one"},
            ],
            "'one'",
            "a name of its own",
        ),
        ([GOOD, GOOD], GOOD.removeprefix("http://"), "each proxy"),
        ([{"url": GOOD, "name": "one"}, {"url": GOOD, "name": "two"}], "'two'", "once"),
        (
            [
                f"http://alice:{PASSWORD}@127.0.0.1:1001",
                {"url": f"http://alice:{PASSWORD}@127.0.0.1:1001", "name": "two"},
            ],
            "'two'",
            "once",
        ),
    ],
)
@crawl_test
async def test_a_crawl_with_a_proxy_listed_twice_fails_before_its_first_request(
    entries: list[Any], wrong: str, mend: str
) -> None:
    message = await error_of_crawl({"PROXYBALANCE_PROXIES": entries})
    assert wrong in message
    assert mend in message
    assert "PROXYBALANCE_PROXIES" in message


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
@crawl_test
async def test_a_crawl_with_socks_and_the_default_handler_fails_before_its_first_request(
    scheme: str,
) -> None:
    message = await error_of_crawl(
        {
            "PROXYBALANCE_PROXIES": [
                GOOD,
                {"url": f"{scheme}://alice:{PASSWORD}@127.0.0.1:1080", "name": "socks"},
            ]
        }
    )
    assert re.search(rf"proxy socks speaks {scheme}\b", message)
    assert "DOWNLOAD_HANDLERS['http']" in message


@crawl_test
async def test_a_crawl_with_credentials_that_nobody_would_send_fails_before_its_first_request() -> (
    None
):
    message = await error_of_crawl(
        {
            "HTTPPROXY_ENABLED": False,
            "PROXYBALANCE_PROXIES": [
                {"url": f"http://alice:{PASSWORD}@127.0.0.1:8080", "name": "locked"}
            ],
        }
    )
    assert "HTTPPROXY_ENABLED" in message
    assert "proxy locked" in message


@crawl_test
async def test_a_crawl_with_an_unknown_setting_fails_before_its_first_request() -> None:
    message = await error_of_crawl({"PROXYBALANCE_PROXIES": [GOOD], "PROXYBALANCE_CAP": 3})
    assert message.startswith("PROXYBALANCE_CAP: ")


@crawl_test
async def test_a_crawl_without_a_proxy_fails_before_its_first_request() -> None:
    assert "PROXYBALANCE_PROXIES" in await error_of_crawl({})


# What the download handler, or the encoding, cannot do

H2 = "scrapy.core.downloader.handlers.http2.H2DownloadHandler"


class NoProxies(HTTP11DownloadHandler):
    """Says so, as Scrapy's own do."""

    supports_proxies = False


@pytest.mark.parametrize(
    ("entry", "settings", "wrong", "mend"),
    [
        (f"https://alice:{PASSWORD}@127.0.0.1:1", {}, "speaks https", "for https pages"),
        (GOOD, {"DOWNLOAD_HANDLERS": {"https": H2}}, "H2DownloadHandler", "knows no proxies"),
        (GOOD, {"DOWNLOAD_HANDLERS": {"http": NoProxies}}, "NoProxies", "knows no proxies"),
        (f"http://\u4f60:{PASSWORD}@127.0.0.1:1", {}, "HTTPPROXY_AUTH_ENCODING", "utf-8"),
        (f"http://alice:{PASSWORD}@\u4f60.example:1", {}, "not ASCII", "xn--6qq.example"),
    ],
    ids=["https", "http2", "supports_proxies", "encoding", "host"],
)
@crawl_test
async def test_what_cannot_be_used_is_refused_before_the_first_request_and_named(
    entry: str, settings: dict[str, Any], wrong: str, mend: str
) -> None:
    message = await error_of_crawl(
        {"PROXYBALANCE_PROXIES": [GOOD, {"url": entry, "name": "odd"}], **settings}
    )
    assert wrong in message
    assert mend in message
    if entry != GOOD:
        assert "odd" in message or "PROXYBALANCE_PROXIES[1]" in message


@crawl_test
async def test_an_https_proxy_is_no_error_where_there_are_no_https_pages() -> None:
    crawler = await crawl(
        [],
        {
            "PROXYBALANCE_PROXIES": ["https://127.0.0.1:1"],
            "DOWNLOAD_HANDLERS": {"https": None},
        },
    )
    assert crawler.stats.get_value("finish_reason") == "finished"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "proxies.txt"
    path.write_text("\ufeffhttp://127.0.0.1:1 name=one\n", encoding="utf-8")
    proxies = read(PROXIES=["\ufeff127.0.0.1:2"], PROXIES_FILE=str(path)).proxies
    assert [proxy.gateway for proxy in proxies] == ["127.0.0.1:2", "127.0.0.1:1"]
