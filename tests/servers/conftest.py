"""Fixtures that the tests of all servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..crawl.certificates import server_context as make_server_context

if TYPE_CHECKING:
    import ssl


@pytest.fixture(scope="session")
def server_context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A TLS origin's side, with a certificate that it has signed itself."""
    return make_server_context(tmp_path_factory.mktemp("certificate"), "127.0.0.1")
