"""The ready structure against a naive model that looks at every queue each time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from scrapy_proxybalance.plugin.scheduling.queue_order import QueueOrder, Ring

if TYPE_CHECKING:
    from collections.abc import Iterable

NEVER = float("inf")


def changed(order: QueueOrder, slot: str, target: str) -> None:
    """Tell of a request that has come or gone."""
    order.slot_changed(slot)
    order.target_changed(target)


class World:
    """Limits that a test sets: how much slots and targets take, and until when they take nothing."""

    def __init__(self) -> None:
        self.under_way: list[tuple[str, str]] = []  # slots and targets
        self.slot_size: Counter[str] = Counter()
        self.target_size: Counter[str] = Counter()
        self.slot_until: dict[str, float] = {}
        self.target_until: dict[str, float] = {}
        self.unlimited = 1000

    def active(self, slot: str) -> int:
        return sum(name == slot for name, _ in self.under_way)

    def slot_ready_at(self, slot: str, now: float) -> float | None:
        if self.active(slot) >= (self.slot_size[slot] or self.unlimited):
            return None
        return max(now, self.slot_until.get(slot, now))

    def held_by(self, target: str, now: float) -> str | None:
        return target if self.target_room(target, now) <= 0 else None

    def target_room(self, target: str, now: float) -> int:
        if now < self.target_until.get(target, now):
            return 0
        used = sum(name == target for _, name in self.under_way)
        return (self.target_size[target] or self.unlimited) - used

    def target_ready_at(self, target: str, now: float) -> float | None:
        if now < self.target_until.get(target, now):
            return self.target_until[target]
        return now if self.target_room(target, now) > 0 else None

    def may_go_at(self, slot: str, names: tuple[str, ...], now: float) -> float:
        """When time alone lets a request of this slot pass its target and its gate."""
        held_until = [self.target_until.get(name, now) for name in names]
        when = max(now, self.slot_until.get(slot, now), *held_until)
        if when == NEVER or self.slot_ready_at(slot, when) != when:
            return NEVER
        return when if all(self.target_room(name, when) > 0 for name in names) else NEVER


def scrapys_choice(slots: Iterable[str], world: World, last: str) -> str:
    """The slot that DownloaderAwarePriorityQueue would serve."""
    return min(slots, key=lambda slot: (world.active(slot), slot <= last, slot))


# The ring


def test_a_ring_gives_the_lowest_level_and_there_goes_round_by_name() -> None:
    ring = Ring()
    for name, level in [("b", 1), ("a", 1), ("c", 1), ("d", 2)]:
        ring.put(name, level)
    assert [ring.next(last) for last in ("", "a", "b", "c", "zzz")] == ["a", "b", "c", "a", "a"]
    ring.put("d", 0)
    assert ring.next("a") == "d"
    ring.discard("d")
    ring.discard("d")
    assert ring.next("a") == "b"
    assert len(ring) == 3


def test_an_empty_ring_gives_nothing() -> None:
    ring = Ring()
    assert ring.next("") is None
    ring.put("a", 0)
    ring.discard("a")
    assert ring.next("") is None
    assert len(ring) == 0


# Queues


def start(ready: QueueOrder, world: World, now: float = 0) -> str | None:
    """Serve the next queue; its request is under way. Queues are named ``slot|target``."""
    key = ready.next(now)
    if key is not None:
        ready.served(key)
        slot, _, target = key.partition("|")
        world.under_way.append((slot, target))
        changed(ready, slot, target)
    return key


def end(ready: QueueOrder, world: World, slot: str, target: str) -> None:
    world.under_way.remove((slot, target))
    changed(ready, slot, target)


def queues(world: World, *keys: str) -> QueueOrder:
    ready = QueueOrder(world)
    for key in keys:
        slot, _, target = key.partition("|")
        ready.put(key, slot, target, 0)
    return ready


def test_without_queues_there_is_nothing_to_serve_and_nothing_to_wait_for() -> None:
    ready = QueueOrder(World())
    assert ready.next(0) is None
    assert ready.next_timer() is None


def test_slots_with_as_much_under_way_are_served_in_turn() -> None:
    world = World()
    ready = queues(world, "a|x", "b|y", "c|z")
    assert [start(ready, world) for _ in range(6)] == ["a|x", "b|y", "c|z"] * 2
    end(ready, world, "b", "y")
    assert start(ready, world) == "b|y"


def test_queues_of_a_slot_go_by_priority_and_equal_ones_in_turn() -> None:
    world = World()
    ready = queues(world, "a|x", "a|y", "a|z")
    assert [start(ready, world) for _ in range(4)] == ["a|x", "a|y", "a|z", "a|x"]
    ready.put("a|z", "a", "z", -1)
    assert [start(ready, world) for _ in range(2)] == ["a|z", "a|z"]
    ready.remove("a|z")
    assert start(ready, world) == "a|x"


def test_a_held_target_holds_no_other_queue_of_its_slot() -> None:
    world = World()
    world.target_until["x"] = 10
    ready = queues(world, "a|x", "a|y")
    assert [start(ready, world) for _ in range(2)] == ["a|y", "a|y"]
    assert ready.next_timer() == 10
    assert start(ready, world, 10) == "a|x"


def test_a_target_without_end_of_its_hold_is_no_reason_to_wake() -> None:
    world = World()
    world.target_until["x"] = NEVER
    ready = queues(world, "a|x")
    assert ready.next(0) is None
    assert ready.next_timer() is None
    del world.target_until["x"]
    ready.target_changed("x")
    assert ready.next(0) == "a|x"


def test_a_full_slot_is_served_when_a_request_of_it_has_ended() -> None:
    world = World()
    world.slot_size["a"] = 1
    ready = queues(world, "a|x")
    assert start(ready, world) == "a|x"
    assert start(ready, world) is None
    end(ready, world, "a", "x")
    assert start(ready, world) == "a|x"


def test_a_full_slot_does_not_keep_the_room_of_a_target_from_another_slot() -> None:
    world = World()
    world.target_until["x"] = 10
    ready = queues(world, "a|x", "b|x")
    assert ready.next(0) is None
    world.slot_size["a"] = world.target_size["x"] = 1
    world.under_way.append(("a", "elsewhere"))
    changed(ready, "a", "elsewhere")
    assert ready.next(10) == "b|x"


def test_a_queue_that_is_removed_does_not_keep_the_room_of_its_target_from_another() -> None:
    world = World()
    world.target_until["x"] = 10
    world.target_size["x"] = 1
    ready = queues(world, "a|x", "b|x")
    assert ready.next(0) is None
    assert ready.next(10) == "a|x"
    ready.served("a|x")
    ready.remove("a|x")  # its only request was set aside, and is not under way
    assert ready.next(10) == "b|x"


def test_of_many_queues_to_a_target_as_many_come_back_as_it_has_room_for() -> None:
    world = World()
    world.target_until["x"] = 10
    world.target_size["x"] = 2
    ready = queues(world, *[f"s{number}|x" for number in range(10)])
    assert ready.next(0) is None
    assert [start(ready, world, 10) for _ in range(3)] == ["s0|x", "s1|x", None]
    end(ready, world, "s0", "x")
    assert start(ready, world, 10) is not None
    assert start(ready, world, 10) is None


def test_queues_to_a_target_at_its_limit_all_get_their_turn() -> None:
    world = World()
    world.target_size["x"] = 3
    ready = queues(world, *[f"s{number}|x" for number in range(20)])
    served: Counter[str | None] = Counter()
    for _ in range(400):
        while (key := start(ready, world)) is not None:
            served[key] += 1
        end(ready, world, *world.under_way[0])
    assert len(served) == 20
    assert max(served.values()) - min(served.values()) <= 2


def test_of_queues_held_for_a_target_the_most_urgent_comes_back_first_and_equal_ones_in_turn() -> (
    None
):
    world = World()
    world.target_until["x"] = 10
    world.target_size["x"] = 1
    ready = QueueOrder(world)
    for slot, priority in [("a", -1), ("b", 0), ("c", 0), ("d", 5), ("e", 0)]:
        ready.put(f"{slot}|x", slot, "x", priority)
    assert ready.next(0) is None

    def serve_one() -> str:
        key = start(ready, world, 10)
        assert key is not None
        assert start(ready, world, 10) is None
        end(ready, world, key[0], "x")
        return key[0]

    assert [serve_one() for _ in range(2)] == ["a", "a"]
    ready.remove("a|x")
    assert [serve_one() for _ in range(6)] == ["b", "c", "e"] * 2
    for slot in "bce":
        ready.remove(f"{slot}|x")
    assert serve_one() == "d"


def test_a_queue_that_becomes_urgent_while_it_is_held_comes_back_first() -> None:
    world = World()
    world.target_until["x"] = 10
    world.target_size["x"] = 1
    ready = queues(world, "a|x", "b|x", "c|x")
    assert ready.next(0) is None
    ready.set_priority("b|x", -1)
    assert [start(ready, world, 10) for _ in range(2)] == ["b|x", None]


def test_a_queue_that_is_served_says_its_slot_and_its_target() -> None:
    ready = queues(World(), "a|x", "b|x", "b|y")
    assert ready.next(0) == "a|x"
    assert ready.served("a|x") == ("a", "x")
    assert "b|x" in ready
    ready.remove("b|x")
    assert "b|x" not in ready


# Gates


def gated(world: World, *keys: str) -> QueueOrder:
    """Make queues of which those that end with ``+`` have to pass the gate ``g``."""
    ready = QueueOrder(world)
    for key in keys:
        slot, _, target = key.rstrip("+").partition("|")
        ready.put(key, slot, target, 0, "g" if key.endswith("+") else None)
    return ready


def test_a_closed_gate_holds_the_queues_that_have_to_pass_it_and_no_others() -> None:
    world = World()
    world.target_until["g"] = 10
    ready = gated(world, "a|x", "a|x+", "b|y+")
    assert [ready.next(0) for _ in range(2)] == ["a|x", "a|x"]
    ready.remove("a|x")
    assert ready.next(0) is None
    assert ready.next_timer() == 10
    assert ready.next(10) == "a|x+"
    ready.remove("a|x+")
    assert ready.next(10) == "b|y+"


def test_a_queue_whose_target_is_held_does_not_keep_the_room_of_the_gate_from_another() -> None:
    world = World()
    world.target_until["g"] = 10
    ready = gated(world, "a|x+", "b|y+")
    assert ready.next(0) is None
    world.target_until["x"] = NEVER
    world.target_size["g"] = 1
    assert ready.next(10) == "b|y+"


def test_a_queue_at_a_closed_gate_does_not_keep_the_room_of_its_target_from_another() -> None:
    world = World()
    world.target_until["x"] = 10
    world.target_size["x"] = 1
    ready = gated(world, "a|x+", "b|x")
    assert ready.next(0) is None
    world.target_until["g"] = NEVER
    assert ready.next(10) == "b|x"


def test_a_full_slot_does_not_keep_the_room_of_a_gate_from_another_slot() -> None:
    world = World()
    world.target_until["g"] = 10
    ready = gated(world, "a|x+", "b|y+")
    assert ready.next(0) is None
    world.slot_size["a"] = world.target_size["g"] = 1
    world.under_way.append(("a", "elsewhere"))
    changed(ready, "a", "elsewhere")
    assert ready.next(10) == "b|y+"


# Against the model

SLOTS = ("a", "b", "c")
#: Hosts, and the target that each belongs to: two of them are one target.
HOSTS = {"h0": "x", "h1": "x", "h2": "y", "h3": "z"}
#: What the queues have to pass whose keys end with ``+``.
GATE = "g"
keys = st.builds(
    "{}|{}{}".format,
    st.sampled_from(SLOTS),
    st.sampled_from(sorted(HOSTS)),
    st.sampled_from(["", "+"]),
)
targets = st.sampled_from([*sorted(set(HOSTS.values())), GATE])
moments = st.sampled_from([0.25, 1.0, 2.0, 5.0, 30.0])


def parts(key: str) -> tuple[str, str]:
    slot, _, host = key.rstrip("+").partition("|")
    return slot, HOSTS[host]


def gate_of(key: str) -> str | None:
    return GATE if key.endswith("+") else None


def names(key: str) -> tuple[str, ...]:
    """What a queue has to pass: its target, and its gate."""
    gate, (_, target) = gate_of(key), parts(key)
    return (target,) if gate is None else (target, gate)


def test_a_queue_that_waits_and_is_entered_again_is_one_queue() -> None:
    world = World()
    ready = QueueOrder(world)
    world.target_until["h0"] = 5.0
    ready.put("a|h0", "a", "h0", 0)
    assert ready.next(0.0) is None
    ready.put("a|h0", "a", "h0", 0)
    ready.remove("a|h0")
    world.target_until.clear()
    ready.target_changed("h0")
    assert ready.next(10.0) is None


class AgainstAModel(RuleBasedStateMachine):
    """Whatever makes more room is told of; that time passes, and that there is less, is not."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.last = ""
        self.world = World()
        self.ready = QueueOrder(self.world)
        self.priorities: dict[str, int] = {}

    @rule(key=keys, priority=st.integers(-2, 2))
    def put(self, key: str, priority: int) -> None:
        self.priorities[key] = priority
        self.ready.put(key, *parts(key), priority, gate_of(key))

    @precondition(lambda self: self.priorities)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.priorities)))
        del self.priorities[key]
        self.ready.remove(key)

    @rule(seconds=moments)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_the_timer(self) -> None:
        self.now = max(self.now, self.ready.next_timer() or self.now)

    @rule(name=targets, seconds=moments | st.just(NEVER))
    def hold_a_target(self, name: str, seconds: float) -> None:
        until = self.world.target_until
        until[name] = max(self.now + seconds, until.get(name, 0))

    @rule(slot=st.sampled_from(SLOTS), seconds=moments)
    def hold_a_slot(self, slot: str, seconds: float) -> None:
        until = self.world.slot_until
        until[slot] = max(self.now + seconds, until.get(slot, 0))

    @rule(name=targets)
    def free_a_target(self, name: str) -> None:
        self.world.target_until.pop(name, None)
        self.ready.target_changed(name)

    @rule(name=targets, size=st.integers(0, 3))
    def size_a_target(self, name: str, size: int) -> None:
        self.world.target_size[name] = size
        self.ready.target_changed(name)

    @rule(slot=st.sampled_from(SLOTS), size=st.integers(0, 3))
    def size_a_slot(self, slot: str, size: int) -> None:
        self.world.slot_size[slot] = size
        changed(self.ready, slot, "")

    @precondition(lambda self: self.world.under_way)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        slot, target = data.draw(st.sampled_from(self.world.under_way))
        self.world.under_way.remove((slot, target))
        changed(self.ready, slot, target)

    @rule(key=keys)
    def something_else_starts(self, key: str) -> None:
        self.world.under_way.append(parts(key))
        changed(self.ready, *parts(key))

    @rule()
    def ask(self) -> None:
        self.choice()

    def choice(self) -> str | None:
        free = {
            key
            for key in self.priorities
            if self.world.may_go_at(parts(key)[0], names(key), self.now) <= self.now
        }
        key = self.ready.next(self.now)
        timer = self.ready.next_timer()
        assert timer is None or timer > self.now
        if key is None:
            assert not free, f"{free} may go, and nothing came"
            whens = [
                self.world.may_go_at(parts(key)[0], names(key), self.now) for key in self.priorities
            ]
            when = min(whens, default=NEVER)
            assert when == NEVER or (timer is not None and timer <= when), "nobody would wake"
            return None
        assert key in free, f"{key} is held"
        if all(self.has_room_for_all(name) for name in (*HOSTS.values(), GATE)):
            slot = scrapys_choice({parts(name)[0] for name in free}, self.world, self.last)
            assert parts(key)[0] == slot
            of_slot = [self.priorities[name] for name in free if parts(name)[0] == slot]
            assert self.priorities[key] == min(of_slot)
        return key

    def has_room_for_all(self, name: str) -> bool:
        """Whether the order of the queues of a target, or at the gate, is Scrapy's.

        Where room is scarce it is not: those that have waited longest go first.
        """
        count = sum(name in names(key) for key in self.priorities)
        return count <= 1 or count <= self.world.target_room(name, self.now)

    @rule(more=st.none() | st.integers(-2, 2), under_way=st.booleans())
    def serve(self, more: int | None, under_way: bool) -> None:
        key = self.choice()
        if key is None:
            return
        self.ready.served(key)
        self.last = parts(key)[0]
        if more is None:
            del self.priorities[key]
            self.ready.remove(key)
        else:
            self.put(key, more)
        if under_way:
            self.something_else_starts(key)


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    database=None,
    # Without the phase that explains failures: it would take minutes.
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow],
)
