"""Moments as people read them: the pool's clock counts seconds from nowhere."""

from __future__ import annotations

from datetime import datetime, timedelta


def local_time(seconds: float, wall_now: float) -> str:
    """Return what the clock on the wall says in so many seconds; with the date unless it is today.

    :param wall_now: seconds since the epoch.
    """
    now = datetime.fromtimestamp(wall_now).astimezone()
    moment = (now + timedelta(seconds=seconds)).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S")
