"""Moments as people read them: the pool's clock counts seconds from nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta


def local_time(seconds: float, now: datetime | None = None) -> str:
    """Return what the clock on the wall says in so many seconds; with the date unless it is today.

    :param now: the present in local time, if it is known already.
    """
    if now is None:
        now = datetime.now().astimezone()
    moment = (now + timedelta(seconds=seconds)).astimezone(now.tzinfo)
    return moment.strftime("%H:%M:%S" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S")
