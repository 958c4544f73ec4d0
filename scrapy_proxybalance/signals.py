"""Scrapy signals that tell of targets, for ``crawler.signals.connect()``.

A receiver gets those of the arguments that it names; it may be a coroutine function. All of them are
sent soon after the fact, and the crawl goes on meanwhile; the spider is closed only when every
receiver has ended. ``docs/reference/signals.md`` has an example.
"""

from __future__ import annotations

#: A target refuses and gets no traffic for a while: ``target``, ``reason`` (what it said), ``seconds``
#: (how long), ``step`` (pauses in a row, from 1), ``held`` (requests in the scheduler), ``spider``.
target_paused = object()

#: A target answers again and its traffic grows back: ``target``, ``seconds`` (how long it was
#: paused), ``held``, ``spider``.
target_resumed = object()

#: A target gets no more traffic in this crawl: ``target``, ``reason``, ``held``, ``spider``.
target_suspended = object()
