"""``PROXYBALANCE_STRATEGY``: a name, a class, or the import path of one; and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import STRATEGIES, ConfigurationError
from scrapy_proxybalance.plugin.config.settings import Settings

if TYPE_CHECKING:
    from scrapy_proxybalance.core import PoolPolicy


class Own(STRATEGIES["random"]):  # type: ignore[misc]
    """A strategy of the user's own."""


def not_a_class() -> None:
    """Be something else that can be imported."""


def policy(**given: Any) -> PoolPolicy:
    values = {"PROXIES": ["http://127.0.0.1:8080"], **given}
    return Settings.read(
        ScrapySettings({f"PROXYBALANCE_{name}": value for name, value in values.items()})
    ).policy


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_may_be_named(name: str) -> None:
    assert policy(STRATEGY=name).strategy == name


@pytest.mark.parametrize("spec", [Own, f"{__name__}.Own"])
def test_a_strategy_may_be_a_class_or_its_import_path(spec: object) -> None:
    read = policy(STRATEGY=spec, TARGETS={"shop.example": {"strategy": spec}, "b.example": {}})
    assert read.strategy is Own
    assert read.targets_by_name["shop.example"].strategy is Own
    assert read.targets_by_name["b.example"].strategy is None


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("wheighted", ["'wheighted'", "use one of 'weighted', 'round_robin'", "import path"]),
        ("no.such.Strategy", ["'no.such.Strategy'", "cannot be imported"]),
        (f"{__name__}.Missing", ["Missing", "cannot be imported"]),
        (f"{__name__}.not_a_class", ["not_a_class", "a class derived from"]),
        ("collections.Counter", ["Counter", "a class derived from"]),
        ("scrapy_proxybalance.core.Strategy", ["does not say how to pick, set"]),
        (3, ["3", "use one of 'weighted'"]),
        (["random"], ["['random']", "use one of 'weighted'"]),
    ],
)
def test_what_is_no_strategy_is_refused_with_the_mend(spec: object, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        policy(STRATEGY=spec)
    for part in ["PROXYBALANCE_STRATEGY = ", *parts]:
        assert part in str(caught.value)
