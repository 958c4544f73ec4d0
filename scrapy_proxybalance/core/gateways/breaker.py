"""The circuit breaker of a gateway, or of a whole pool: whether anything gets through at all.

It is told how attempts ended, says when they look like an outage, and when the next probe may go. It
knows no limits and no healths, and sends nothing.
"""

from __future__ import annotations

from math import ceil, log

from ..structures.bounded_dict import BoundedDict
from .failing_targets import FailingTargets

# A run of failures without any answer is an outage when by chance, at the share of failures that is
# usual, it would come once in so many attempts: in months of a busy crawl, as a false alarm
# costs half a minute.
_ONCE_IN = 1e9
# That share is a mean over so many attempts; at first it is taken to be this, with that weight.
_USUAL_OVER = 200
_USUAL_AT_FIRST, _WEIGHT_AT_FIRST = 0.1, 20
_USUAL_MIN, _USUAL_MAX = 0.05, 0.95
_SECONDS_SMOOTHING = 0.1
# With nothing failing, answers are counted so many at a time, and a target again after so many seconds.
_COUNTED_AT_ONCE = 16
_NOTED_AGAIN = 60.0
# Rejections and timeouts have to last so many times the usual answer, in seconds at least
# and at most: before that, the answers of what went out before may still come.
_ANSWERS_AWAITED = 3.0
_SHORTEST, _LONGEST = 1.0, 5.0
# Probes: the first after so many seconds, each further one after twice as long, up to a longest time;
# so many may be out at once, because some may hang. HAProxy checks a server every 2 s.
_FIRST_PROBE, _LAST_PROBE = 1.0, 2.0
_PROBES = 5
# A run of so many failures looks like an outage before it is certain.
_SUSPICIOUS = 3
# Targets are known to answer for so many seconds; so many are remembered.
_KNOWN_FOR = 600.0
_TARGETS = 1000


class Breaker:
    """Trips when nothing gets through any more, and says when to try again.

    A circuit breaker (Nygard, "Release It!", 2007) with a sequential test in place of a fixed
    threshold: a run of failures trips it when, at the usual share of failures, one as long would
    come once in a thousand million attempts (7 where hardly any fail, 30 where half do). The run
    has to come through two proxies at least, if there are two. As many proxies whose credentials
    were refused are an outage too, though answers come in between to what went out before: a proxy
    is refused but once. What may be the target's word as well counts only if the run has two
    targets that have answered lately; one is enough where no other has. So a target that is down
    trips nothing while others answer, and one that has never answered never does. Nor do targets
    that were down before the others came to an end: see :class:`.FailingTargets`.
    """

    __slots__ = (
        "_answered",
        "_answers",
        "_answers_since_refused",
        "_delay",
        "_failing",
        "_known",
        "_late",
        "_prompt",
        "_proxies",
        "_refused",
        "_refused_since",
        "_since",
        "_sure",
        "_usual",
        "_usual_seconds",
        "_weak",
        "lasted",
        "probe_at",
        "probes_out",
        "running",
        "suspicious",
        "tripped_at",
    )

    def __init__(self) -> None:
        self._usual = _USUAL_AT_FIRST
        self._known = _WEIGHT_AT_FIRST  # attempts
        self._usual_seconds: float | None = None
        self._answers = 0  # since they were last counted
        self._answered: BoundedDict[str, float] = BoundedDict(_TARGETS)
        self._failing = FailingTargets()
        #: When it tripped; ``None`` while it has not.
        self.tripped_at: float | None = None
        #: When the next probe may go.
        self.probe_at = 0.0
        self.probes_out = 0
        #: Whether the last failure looks like an outage's doing, certain or not.
        self.suspicious: bool
        #: How many seconds the last outage lasted.
        self.lasted = 0.0
        self._delay = _FIRST_PROBE
        self._refused: set[str] = set()
        self._refused_since = 0.0
        self._answers_since_refused = 0
        self._begin_run()

    @property
    def signs(self) -> int:
        """How many failures may be signs of an outage."""
        return self.running + len(self._refused)

    def knows(self, target: str) -> bool:
        """Return whether a target is known to have answered, however long ago."""
        return target in self._answered

    def explains(self, target: str) -> bool:
        """Return whether a target explains its own failures, whatever else gets through."""
        return self._failing.explains(target)

    def count(self, answers: int) -> None:
        """Take note of so many answers of which nothing else is known."""
        self._answers += answers
        self._answers_since_refused += answers

    def answered(self, target: str, started_at: float, now: float) -> bool:
        """Take note of an answer; return whether it ends an outage."""
        self._answers += 1
        self._answers_since_refused += 1
        self._failing.answered(target, started_at)
        if self._refused and started_at >= self._refused_since:
            self._refused.clear()
        if (
            not self.running
            and self.tripped_at is None
            and self._answers % _COUNTED_AT_ONCE
            and now - self._answered.get(target, float("-inf")) < _NOTED_AGAIN
        ):
            return False  # nothing new
        self._answered.pop(target, None)
        self._answered[target] = now
        if self.tripped_at is not None:
            if started_at < self.tripped_at:
                return False
            self._close(self.tripped_at, now)
            return True
        seconds, usual = now - started_at, self._usual_seconds
        self._usual_seconds = (
            seconds if usual is None else usual + _SECONDS_SMOOTHING * (seconds - usual)
        )
        self._known = min(_USUAL_OVER, self._known + self.running + self._answers)
        kept = 1.0 - 1.0 / self._known
        failing = 1.0 - (1.0 - self._usual) * kept**self.running
        self._usual = failing * kept**self._answers
        self._answers = 0
        self._begin_run()
        return False

    def failed(
        self,
        proxy: str,
        target: str,
        started_at: float,
        now: float,
        *,
        sure: bool,
        gateways_word: bool,
        prompt: bool,
        credentials: bool,
        proxies: int,
    ) -> bool:
        """Take note of a failure; return whether it trips the breaker.

        If it shows that its target explains what has tripped it, it is tripped no longer.

        :param sure: that it was not the target's doing.
        :param prompt: that nothing was said at all, so that no more than the usual answers have to be
            awaited: a gateway that has too much to do may reject some and answer others later.
        :param credentials: that the credentials were refused.
        :param gateways_word: that it was the gateway that said no, whatever its reason.
        :param proxies: how many proxies there are to fail.
        """
        if not sure:
            self._failing.failed(target, started_at, now)
            if self._failing.explains(target):
                self._forget(target)
                self.suspicious = False
                if self.tripped_at is not None and not self._has_enough:
                    self._close(self.tripped_at, now)
                return False
        self.suspicious = self.tripped_at is not None
        if self.suspicious:
            return False
        if not sure and self._answered and not self._answers_lately(target, now):
            return False
        if credentials:
            if not self._refused:
                self._refused_since = now
                self._answers_since_refused = 0
            self._refused.add(proxy)
        self.running += 1
        late = started_at < self._failing.latest  # others got through since it went
        self._late += late
        if not late and self.running == self._late + 1:
            self._since = now
        self._sure += sure
        self._prompt += prompt
        self._proxies.add(proxy)
        failures, prompts, lates = self._weak.get(target, (0, 0, 0))
        if not sure:
            failures, prompts, lates = failures + 1, prompts + prompt, lates + late
        self._weak[target] = (failures, prompts, lates)
        likely = len(self._proxies) >= min(2, proxies) and (
            2 * self._sure >= self.running
            or len(self._weak) >= 2
            or (gateways_word and self._is_the_only_one(target, now))
        )
        self.suspicious = likely and self.running >= _SUSPICIOUS
        if len(self._refused) >= max(self._enough, self._answers_since_refused):
            self.trip(now)
            return True
        if not likely or self.running - self._late < self._enough:
            return False
        if 2 * self._sure < self.running:
            awaited = _ANSWERS_AWAITED * (self._usual_seconds or 0.0)
            shortest = 0.0 if 2 * self._prompt >= self.running else _SHORTEST
            if now - self._since < min(_LONGEST, max(shortest, awaited)):
                return False
        self.trip(now)
        return True

    # While it is tripped

    def may_probe(self, now: float) -> bool:
        """Return whether a probe may go now."""
        return now >= self.probe_at and self.probes_out < _PROBES

    @property
    def next_probe(self) -> float | None:
        """When the next probe may go; ``None`` while one has to end first."""
        return self.probe_at if self.probes_out < _PROBES else None

    def probe(self, now: float) -> None:
        """Take note that one goes."""
        self.probes_out += 1
        self.probe_at = now + self._delay
        self._delay = min(_LAST_PROBE, 2.0 * self._delay)

    @property
    def suspects(self) -> tuple[str, ...]:
        """The targets that may be down themselves, if that is what looks like an outage."""
        return () if 2 * self._sure >= self.running else tuple(sorted(self._weak))

    def trip(self, now: float) -> None:
        """Let nothing but probes go."""
        self.tripped_at = now
        self.probe_at = now + _FIRST_PROBE
        self._delay = 2.0 * _FIRST_PROBE

    def _close(self, tripped_at: float, now: float) -> None:
        self.lasted = now - tripped_at
        self.tripped_at = None
        self._refused.clear()
        self._begin_run()

    def _begin_run(self) -> None:
        #: How many failures in a row may be signs of an outage.
        self.running = 0
        self.suspicious = False
        self._late = 0
        self._sure = 0
        self._prompt = 0
        self._since = 0.0
        self._proxies: set[str] = set()
        # Of each target: failures that may be its own, how many of these said nothing at all, and how
        # many were sent before others got through.
        self._weak: dict[str, tuple[int, int, int]] = {}

    def _forget(self, target: str) -> None:
        """Leave out of the run what a target explains that is in it."""
        failures, prompts, lates = self._weak.pop(target, (0, 0, 0))
        self.running -= failures
        self._prompt -= prompts
        self._late -= lates

    @property
    def _has_enough(self) -> bool:
        return max(self.running, len(self._refused)) >= self._enough

    @property
    def _enough(self) -> int:
        usual = min(_USUAL_MAX, max(_USUAL_MIN, self._usual))
        return ceil(log(_ONCE_IN) / -log(usual))

    def _answers_lately(self, target: str, now: float) -> bool:
        answered_at = self._answered.get(target)
        return answered_at is not None and now - answered_at < _KNOWN_FOR

    def _is_the_only_one(self, target: str, now: float) -> bool:
        """Return whether a target answers, and no other does."""
        return bool(self._answered) and not any(
            name != target and now - answered_at < _KNOWN_FOR
            for name, answered_at in self._answered.items()
        )
