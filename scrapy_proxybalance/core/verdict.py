"""What judging ends with: whose fault an attempt's end was. Knows nothing of the pool's state."""

from __future__ import annotations

import attrs

from .outcome import Outcome


@attrs.frozen(kw_only=True)
class Verdict:
    """Whose fault an attempt's end was.

    :param outcome: whose.
    :param failure: the class of failure, as it appears in stats; ``None`` for none.
    :param retry_after: seconds that the target asked for, if it did.
    :param header: the response's header that said so, for the log; ``None`` if none did.
    :param certain: whether it needs no comparison with what others get from the target.
    :param part: the proxy's part of a useless answer, 0 to 1, by a comparison with the answers that
        others got; ``None`` where there was none.
    :param unsure: whether it is a second opinion that has to tell whose answer this was.
    """

    outcome: Outcome
    failure: str | None = None
    retry_after: float | None = None
    header: str | None = None
    certain: bool = False
    part: float | None = None
    unsure: bool = False


#: The failure of a response 403: a refusal only after several in a row.
FORBIDDEN = "403"
#: The failure of a certificate that did not verify: the target's, until others get a good one.
CERTIFICATE = "certificate"
#: The failure of a download handler that says it cannot use such a proxy.
UNSUPPORTED = "unsupported"

SUCCEEDED = Verdict(outcome=Outcome.SUCCESS)
IGNORED = Verdict(outcome=Outcome.IGNORED)


def in_words(verdict: Verdict, status: int | None) -> str:
    """Return what a target said.

    :param status: of its response; ``None`` if there was none.
    """
    failure = verdict.failure or "refused"
    if status is None:
        return failure
    words = f"response {status}"
    if verdict.failure not in (None, str(status)):
        words += f" ({failure})"
    if verdict.header is not None:
        words += f" with {verdict.header}"
    return words
