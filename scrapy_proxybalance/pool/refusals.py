"""Refusals: whether a target's refusal is in fact a proxy's or a gateway's, or for one proxy alone.

Two sites do not send the same refusal. If two targets refuse through one proxy, or through one gateway,
within seconds and with the same page, while no other proxy is refused, the refusal is not theirs. And if
a target refuses one proxy repeatedly, and serves all others, its refusal is for that proxy. All other
refusals are the target's. Keeps recent refusals, and answers questions.
"""

from __future__ import annotations

from collections import deque

import attrs

from .bounded_dict import BoundedDict

# Within so many seconds two refusals are one event.
_TOGETHER = 5.0
# So many refusals are looked back on.
_LATEST = 200
# A refusal is for one proxy if the target has refused it in a row, and served others so often meanwhile.
_SERVED_OTHERS = 5
_TARGETS = 2000


@attrs.frozen
class _Refusal:
    at: float
    target: str
    proxy: str
    gateway: str
    page: str


class _Target:
    __slots__ = ("alone", "alone_at", "excused_at", "refused", "served_others")

    def __init__(self) -> None:
        self.alone = ""  # the one proxy that it refuses
        self.alone_at = float("-inf")
        self.refused = 0
        self.served_others = 0
        self.excused_at = float(
            "inf"
        )  # since when it has not answered although a refusal was not its


class Refusals:
    """The refusals of the targets of one pool."""

    def __init__(self) -> None:
        self._latest: deque[_Refusal] = deque(maxlen=_LATEST)
        self._targets: BoundedDict[str, _Target] = BoundedDict(_TARGETS)

    def useful(self, target: str, proxy: str) -> None:
        """Take note of an answer as one wants it."""
        known = self._targets.get(target)
        if known is not None:
            known.excused_at = float("inf")
            if proxy == known.alone:
                del self._targets[target]
            else:
                known.served_others += 1

    def refused(
        self, target: str, proxy: str, gateway: str, page: str, *, granted_at: float, now: float
    ) -> tuple[str, ...]:
        """Take note of a refusal; return the targets that it is not of, this one included, or none.

        :param gateway: that of the proxy.
        :param page: equal for answers that look the same.
        :param granted_at: when the request was sent.
        """
        refusal = _Refusal(now, target, proxy, gateway, page)
        latest = [one for one in self._latest if now - one.at < _TOGETHER]
        self._latest.append(refusal)
        known = self._targets.get(target)
        if known is not None and granted_at > known.excused_at + _TOGETHER:
            return ()  # less was sent that way, it has not answered since, and says so still
        for same in (
            [one for one in latest if one.proxy == proxy],
            [one for one in latest if one.gateway == gateway],
        ):
            alike = {one.target for one in same if one.page == page} - {target}
            concerned = {*alike, target}
            others = [one for one in latest if one not in same and one.target in concerned]
            if alike and not others:
                for one in concerned:
                    record = self._known(one)
                    record.excused_at = min(record.excused_at, now)
                return tuple(sorted(concerned))
        return ()

    def alone(self, target: str, proxy: str, *, granted_at: float, now: float, enough: int) -> bool:
        """Take note of a refusal by the target; return whether it is for one proxy alone.

        :param enough: how many in a row say so.
        """
        known = self._known(target)
        if proxy != known.alone:
            known.alone, known.refused = proxy, 0
        if granted_at > known.alone_at:
            known.refused += 1
        if known.refused == 1:
            known.served_others = 0
        known.alone_at = now
        return known.refused >= enough and known.served_others >= _SERVED_OTHERS

    def _known(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        return known
