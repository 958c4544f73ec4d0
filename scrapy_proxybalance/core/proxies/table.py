"""Who is in the pool: the proxies under their names and indices, with what is kept of each.

Knows nothing of leases, limits or strategies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError, NoProxyMatchesError
from ..gateways.rejections import Rejections
from ..limits.own_limit import Proven
from .credentials import UNTRIED_IN_FLIGHT, Refusals
from .groups import Groups
from .health import COOLING, HEALTHY, OUT, RECOVERING, Health

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ..gateways.gateway import Gateway
    from ..limits.own_limit import OwnLimit
    from .filters import ProxyFilter
    from .groups import Group
    from .proxy import Proxy

_FILTERS_REMEMBERED = 1000


class Node:
    """One proxy and what the pool keeps of it.

    ``draining``: it gets no further attempt; ``leaving``: and is gone when its last one has ended.
    ``free``: leases that could be granted now; ``in_flight``: leases that are out, of ``cap``;
    ``timer``: when it is to be looked at again; ``serving``: whether it is counted as being in
    good standing; ``group``: tells what to expect while little is known of it; ``expected``: what
    was to be expected of it, and ``price``: its score but for the ``load``, at ``priced_at``;
    ``known_since``: the generation that what is known of it begins with;
    ``gateway``: that of its gateway, if it has one; ``answered``: whether anything has ever come
    back through it with these credentials, and ``useful`` whether that was ever an answer other than a
    refusal; ``refusals``: of these, since then; ``proven``: how many requests at once, of late;
    ``own_limit``: what it may carry, if it has closed connections for their number; ``rejections``: how
    often in a row its gateway has said no of it.
    """

    __slots__ = (
        "answered",
        "cap",
        "draining",
        "expected",
        "free",
        "gateway",
        "group",
        "health",
        "in_flight",
        "index",
        "known_since",
        "leaving",
        "load",
        "own_limit",
        "price",
        "priced_at",
        "probe_out",
        "proven",
        "proxy",
        "refusals",
        "rejections",
        "serving",
        "timer",
        "useful",
    )

    def __init__(self, proxy: Proxy, index: int, group: Group) -> None:
        self.proxy = proxy
        self.index = index
        self.group = group
        self.cap = 1
        self.in_flight = 0
        self.load = 1.0
        self.price = 0.0
        self.expected = (1.0, 1.0, 1.0)
        self.priced_at = float("-inf")
        self.health = Health()
        self.known_since = self.health.generation
        self.draining = False
        self.leaving = False
        self.probe_out = False
        self.free = 0
        self.serving = False
        self.timer: float | None = None
        self.gateway: Gateway | None = None
        self.answered = self.useful = False
        self.refusals = Refusals()
        self.proven = Proven()
        self.own_limit: OwnLimit | None = None
        self.rejections = Rejections()

    def begin_anew(self) -> None:
        """Forget what was learned; what is under way is not held against it."""
        generation = self.health.generation
        self.health = Health()
        self.health.generation = self.known_since = generation + 1
        self.answered = self.useful = False
        self.refusals.clear()
        self.probe_out = False

    @property
    def in_good_standing(self) -> bool:
        """Whether it carries requests, and not only a probe."""
        state = self.health.state
        return (state is HEALTHY or state is RECOVERING) and not self.draining

    @property
    def carries(self) -> int:
        """How many requests it may carry at once, as far as is known of it, its cap aside."""
        own = self.own_limit
        most = self.cap if own is None or own.limit > self.cap else int(own.limit)
        if not self.answered and (self.proxy.username is not None or self.refusals):
            return min(most, max(1, UNTRIED_IN_FLIGHT - len(self.refusals)))
        return most

    @property
    def lost(self) -> bool:
        """Whether a session can no longer count on it."""
        return self.draining or self.health.state in (COOLING, OUT)


class Nodes:
    """The pool's nodes: added, replaced, removed, found by name, by index and by filter."""

    def __init__(self) -> None:
        self.groups = Groups()
        self._by_name: dict[str, Node] = {}
        #: The last one to have each index, even if it is gone.
        self.by_index: list[Node] = []
        self._unused: list[int] = []
        self._identities: set[tuple[object, ...]] = set()
        self._gateways: dict[str, int] = {}
        self._alone: dict[str, Node] = {}  # of each gateway that nobody has shared yet
        self._matching: dict[Hashable, list[int]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def get(self, name: str) -> Node | None:
        """Return a node by its name, or ``None``."""
        return self._by_name.get(name)

    def at(self, index: int) -> Node:
        """Return the node with an index: the last one to have it, even if it is gone."""
        return self.by_index[index]

    def add(self, proxy: Proxy) -> Node:
        """Take a proxy in.

        :raises ConfigurationError: if its name, or its endpoint with its credentials, is there.
        """
        self._refuse_double(proxy)
        if proxy.name in self._by_name:
            raise ConfigurationError(
                f"proxy name {proxy.name!r} is there twice; give each proxy a name of its own"
            )
        index = self._unused.pop() if self._unused else len(self.by_index)
        node = Node(proxy, index, self.groups.whole)
        self._enrol(node)
        if index == len(self.by_index):
            self.by_index.append(node)
        else:
            self.by_index[index] = node
        self._by_name[proxy.name] = node
        return node

    def replace(self, proxy: Proxy) -> Node:
        """Put a proxy in the place of the one of its name; what was learned stays.

        One that was out, or has a new endpoint or new credentials, starts over.

        :raises KeyError: if there is no proxy of its name.
        :raises ConfigurationError: if its endpoint with its credentials is there under another name.
        """
        node = self._by_name[proxy.name]
        renewed = proxy.identity != node.proxy.identity
        if renewed:
            self._refuse_double(proxy)
        self._discharge(node)
        node.proxy = proxy
        self._enrol(node)
        if node.leaving:
            node.draining = node.leaving = False
        if renewed or node.health.state is OUT:
            node.begin_anew()
        return node

    def remove(self, node: Node) -> None:
        """Forget a node."""
        del self._by_name[node.proxy.name]
        node.timer = None
        self._unused.append(node.index)
        self._discharge(node)

    def sharing_gateway(self, proxy: Proxy) -> int:
        """Return how many nodes have the host and port of ``proxy``."""
        return self._gateways.get(proxy.gateway, 0)

    def group_of(self, proxy: Proxy) -> Group:
        """Return the group of a node as things stand."""
        return self.groups.of(proxy, shares_gateway=self.sharing_gateway(proxy) > 1)

    def matching(self, wanted: ProxyFilter) -> list[int]:
        """Return the indices of the nodes that a filter accepts.

        :raises NoProxyMatchesError: if it accepts none.
        """
        indices = self._matching.get(wanted.key)
        if indices is None:
            indices = [node.index for node in self if wanted(node.proxy)]
            if not indices:
                raise NoProxyMatchesError(
                    f"no proxy of the pool ({len(self)}) matches the filter {wanted.text}"
                )
            if len(self._matching) >= _FILTERS_REMEMBERED:
                self._matching.clear()
            self._matching[wanted.key] = indices
        return indices

    def _refuse_double(self, proxy: Proxy) -> None:
        if proxy.identity in self._identities:
            raise ConfigurationError(
                f"proxy {proxy.name!r}: the same endpoint and credentials are there "
                "already; list each proxy once"
            )

    def _enrol(self, node: Node) -> None:
        proxy, gateway = node.proxy, node.proxy.gateway
        self._identities.add(proxy.identity)
        self._gateways[gateway] = self._gateways.get(gateway, 0) + 1
        node.group = self.group_of(proxy)
        if self._gateways[gateway] == 1:
            self._alone[gateway] = node
        else:
            first = self._alone.pop(gateway, None)
            if first is not None:
                first.group = node.group
        self._matching.clear()

    def _discharge(self, node: Node) -> None:
        gateway = node.proxy.gateway
        self._identities.discard(node.proxy.identity)
        self._gateways[gateway] -= 1
        if not self._gateways[gateway]:
            del self._gateways[gateway]
            self._alone.pop(gateway, None)
        self._matching.clear()
