"""The dict with a bound: which key makes room for a new one."""

from __future__ import annotations

from scrapy_proxybalance.core.structures.bounded_dict import BoundedDict


def test_a_new_key_takes_the_place_of_the_oldest() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    known["a"], known["b"], known["c"] = 1, 2, 3
    assert dict(known) == {"b": 2, "c": 3}


def test_a_known_key_needs_no_room_and_gets_no_younger() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    known["a"], known["b"], known["a"] = 1, 2, 3
    assert dict(known) == {"a": 3, "b": 2}
    known["c"] = 4
    assert dict(known) == {"b": 2, "c": 4}


def test_a_key_that_was_moved_to_the_end_is_the_youngest() -> None:
    known: BoundedDict[str, int] = BoundedDict(2)
    known["a"], known["b"] = 1, 2
    known.move_to_end("a")
    known["c"] = 3
    assert dict(known) == {"a": 1, "c": 3}
