"""What the port answers to which request: metrics, the page, its JSON, and what an operator asks for.

Knows HTTP and no crawl. Reading needs nothing; acting needs the token, as a header that no other
site's page can send.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from prometheus_client import exposition

from .actions import PROXY_ACTIONS, TARGET_ACTIONS, RefusedError
from .server import CONNECTION_TIMEOUT, StatusServer
from .table import Query, picked

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from .server import ServedCrawl

# Bytes that may follow a request's headers.
_LONGEST_BODY = 4096

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
# Nothing from elsewhere, nothing inline: what a proxy or a host is called can do nothing here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_READ_ONLY = "this crawl is read-only; set PROXYBALANCE_CONTROL_TOKEN to act on it from here"


class _AnswerError(Exception):
    """Ends a request with a status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: StatusServer
    timeout = CONNECTION_TIMEOUT
    server_version = "proxybalance"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer what is asked for."""
        self._try(self._read)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Do what an operator asks for."""
        self._try(self._act)

    def _try(self, answer: Any) -> None:
        try:
            answer()
        except ConnectionError:
            pass  # the client has gone: not the crawl's fault
        except _AnswerError as error:
            self._json({"error": str(error)}, error.status, **error.headers)
        except TimeoutError as error:
            self._json({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:
            self.server.note_failure()
            self._json({"error": "the log says why"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _url(self) -> SplitResult:
        """Return what is asked for.

        A page of another site that has its own name point here is told nothing, as long as only this
        machine is to reach this. Whoever scrapes metrics may call it what they like.
        """
        try:
            url = urlsplit(self.path)
            host = urlsplit("//" + self.headers.get("Host", "localhost")).hostname or ""
        except ValueError:
            raise _AnswerError(HTTPStatus.BAD_REQUEST, "that is no address") from None
        if self.server.is_local and url.path != "/metrics" and not is_local_name(host):
            raise _AnswerError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this is not {host!r}; call it localhost or by its IP address",
            )
        return url

    # What can be read

    def _read(self) -> None:
        url = self._url()
        if url.path == "/metrics":
            encode, content_type = _encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(self.server), content_type)
        elif url.path in _PAGE:
            name, content_type = _PAGE[url.path]
            self._answer(HTTPStatus.OK, _asset(name), content_type)
        else:
            self._json(self._found(_segments(url.path), url.query))

    def _found(self, path: list[str], query: str) -> dict[str, Any]:
        match path:
            case ["api", "crawls"]:
                return {
                    "crawls": [
                        {"name": name, "acts": crawl.actions.possible}
                        for name, crawl in self.server.crawls.items()
                    ]
                }
            case ["api", "crawls", name]:
                crawl = self._crawl(name)
                try:
                    wanted = Query.read(parse_qs(query, max_num_fields=20))
                except ValueError as error:
                    raise _AnswerError(HTTPStatus.BAD_REQUEST, str(error)) from None
                return {
                    "crawl": name,
                    "acts": crawl.actions.possible,
                    **picked(crawl.ask(crawl.view.show), wanted),
                }
            case ["api", "crawls", name, "proxies", proxy]:
                crawl = self._crawl(name)
                try:
                    return crawl.ask(lambda: crawl.view.score(proxy))
                except KeyError:
                    raise _no_such_proxy(proxy) from None
        raise _AnswerError(HTTPStatus.NOT_FOUND, "there are /, /metrics and /api/crawls")

    def _crawl(self, name: str) -> ServedCrawl:
        crawl = self.server.crawls.get(name)
        if crawl is None:
            raise _AnswerError(HTTPStatus.NOT_FOUND, f"there is no crawl {name!r}")
        return crawl

    # What can be done

    def _act(self) -> None:
        match _segments(self._url().path):
            case ["api", "crawls", name, "proxies", proxy, action] if action in PROXY_ACTIONS:
                crawl = self._crawl(name)
                self._authorize(crawl)
                self._body()
                try:
                    changed = crawl.ask(lambda: crawl.actions.on_proxy(action, proxy))
                except KeyError:
                    raise _no_such_proxy(proxy) from None
            case ["api", "crawls", name, "targets", target, action] if action in TARGET_ACTIONS:
                crawl = self._crawl(name)
                self._authorize(crawl)
                how = self._body()
                try:
                    changed = crawl.ask(lambda: crawl.actions.on_target(action, target, how))
                except RefusedError as error:
                    raise _AnswerError(HTTPStatus.BAD_REQUEST, str(error)) from None
            case _:
                raise _AnswerError(HTTPStatus.NOT_FOUND, "there is no such action")
        self._json({"changed": changed})

    def _authorize(self, crawl: ServedCrawl) -> None:
        if not crawl.actions.possible:
            raise _AnswerError(HTTPStatus.FORBIDDEN, _READ_ONLY)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not crawl.actions.allows(token.strip()):
            raise _AnswerError(
                HTTPStatus.UNAUTHORIZED,
                "the token is missing or wrong",
                **{"WWW-Authenticate": "Bearer"},
            )

    def _body(self) -> dict[str, Any]:
        """Return the JSON object that the request brings; an empty one if it brings nothing."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            raise _AnswerError(HTTPStatus.LENGTH_REQUIRED, "give a Content-Length")
        if len(length) > len(str(_LONGEST_BODY)) or int(length) > _LONGEST_BODY:
            raise _AnswerError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is too long")
        body = self.rfile.read(int(length))
        try:
            found = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _AnswerError(HTTPStatus.BAD_REQUEST, "give a JSON object")
        return found

    # Answering

    def _json(
        self, answer: dict[str, Any], status: HTTPStatus = HTTPStatus.OK, **headers: str
    ) -> None:
        body = json.dumps(answer, allow_nan=False).encode()
        self._answer(status, body, "application/json", **headers)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(OSError):
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,  # noqa: ARG002
    ) -> None:
        """Answer what is no request, or asks for a method that there is not, as all else."""
        status = HTTPStatus(code)
        self._json({"error": message or status.phrase}, status)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: one line for each scrape would be noise."""


def is_local_name(host: str) -> bool:
    """Return whether a host is an IP address or ``localhost``, which no site can have for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return exposition.choose_encoder(accept)
    except Exception:  # it reads versions that are none as such
        return exposition.choose_encoder("")


def _segments(path: str) -> list[str]:
    """Return the parts of a path; a slash in a name is written ``%2F``."""
    return [unquote(part) for part in path.removeprefix("/").split("/")]


def _no_such_proxy(name: str) -> _AnswerError:
    return _AnswerError(HTTPStatus.NOT_FOUND, f"there is no proxy {name!r}")


@cache
def _asset(name: str) -> bytes:
    return (files(__package__) / "page" / name).read_bytes()
