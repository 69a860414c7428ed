"""All ways to each statistic, the floor first."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.harness.networks import IMPUTED, Problem
from benchmarks.harness.ours import (
    ours_coherence_stream,
    ours_gsnr_stream,
    ours_imputed,
    ours_moments,
    ours_norms,
)
from benchmarks.harness.results import Result
from benchmarks.harness.with_backpack import backpack_moments, backpack_norms
from benchmarks.harness.with_fastdp import fastdp_book_keeping_norms, fastdp_norms
from benchmarks.harness.with_opacus import opacus_ghost_norms, opacus_moments, opacus_norms
from benchmarks.harness.without_library import (
    imputed_by_formula,
    loop_moments,
    loop_norms,
    plain,
    torch_func_moments,
    torch_func_norms,
)

Run = Callable[[], Result | None]
PLAIN, OURS = "plain", "Concord"  # the floor; what the goals are for
STREAM = "Concord, as a stream"  # with all that a long measurement needs


@dataclass(frozen=True)
class Way:
    """One way to a statistic. `prepare` may change the model it is given: that is its own."""

    prepare: Callable[[Problem], Run]
    package: str | None = None  # that must be installed
    writes_out: bool = False  # whether it makes the gradient of each example, which takes long

    @property
    def is_installed(self) -> bool:
        """Whether its package can be imported."""
        return self.package is None or find_spec(self.package) is not None


@dataclass(frozen=True)
class Statistic:
    """What is computed, the ways to it, and the way that is the truth when run in float64."""

    title: str
    ways: dict[str, Way]
    truth: Callable[[Problem], Run]


STATISTICS: dict[str, Statistic] = {
    "S1": Statistic(
        "sum of squared gradient norms and mean gradient, of each parameter tensor",
        {
            PLAIN: Way(plain),
            OURS: Way(ours_norms),
            STREAM: Way(ours_coherence_stream),
            "fastDP": Way(fastdp_norms, "fastDP"),
            "fastDP, book-keeping": Way(fastdp_book_keeping_norms, "fastDP"),
            "Opacus, ghost norms": Way(opacus_ghost_norms, "opacus"),
            "BackPACK": Way(backpack_norms, "backpack"),
            "Opacus": Way(opacus_norms, "opacus", writes_out=True),
            "torch.func": Way(torch_func_norms, writes_out=True),
            "loop": Way(loop_norms, writes_out=True),
        },
        loop_norms,
    ),
    "S2": Statistic(
        "mean and variance of each parameter's gradient",
        {
            PLAIN: Way(plain),
            OURS: Way(ours_moments),
            STREAM: Way(ours_gsnr_stream),
            "BackPACK": Way(backpack_moments, "backpack"),
            "Opacus": Way(opacus_moments, "opacus", writes_out=True),
            "torch.func": Way(torch_func_moments, writes_out=True),
            "loop": Way(loop_moments, writes_out=True),
        },
        loop_moments,
    ),
    "imputed": Statistic(
        "m-coherence imputed from batch gradients",
        {PLAIN: Way(plain), OURS: Way(ours_imputed)},
        imputed_by_formula,
    ),
}


def statistics_of(network: str) -> tuple[str, ...]:
    """Those measured on a network, by its key."""
    return ("imputed",) if network in IMPUTED else ("S1", "S2")


def missing_packages() -> list[str]:
    """The peers that are not installed."""
    ways = [way for statistic in STATISTICS.values() for way in statistic.ways.values()]
    return sorted({way.package for way in ways if way.package and not way.is_installed})
