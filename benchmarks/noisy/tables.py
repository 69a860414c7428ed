"""Finished comparisons as Markdown, as docs/benchmarks.md shows them."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median

from benchmarks.noisy.methods import BASE, METHODS, RATES, Family, Setting
from benchmarks.noisy.protocol import Comparison, Results, chosen, held_out_scores, judged

TITLES = {
    "end": "Accuracy on clean test data at the end of training",
    "best": "Accuracy on clean test data, stopped early by the held-out noisy part",
}


def tables(comparisons: Sequence[Comparison], results: Results, rule: str) -> Iterator[str]:
    """For one data set and one rule: accuracies, differences to the mean, and what tuning chose."""
    first = comparisons[0]
    spread_over = f"mean [lowest, highest] of {first.seeds} seeds"
    yield f"{TITLES[rule]}: {first.data}, {first.epochs} epochs, per cent, {spread_over}"
    yield ""
    yield f"| method | {_joined(f'{c.noise:.0%} noise | minus {BASE}' for c in comparisons)} |"
    yield "|---" * (1 + 2 * len(comparisons)) + "|"
    for method in METHODS:
        cells = []
        for comparison in comparisons:
            own = clean_accuracies(comparison, results, method, rule)
            base = clean_accuracies(comparison, results, BASE, rule)
            gaps = [ours - theirs for ours, theirs in zip(own, base, strict=True)]
            cells += [spread(own), "" if method == BASE else spread(gaps, sign="+")]
        yield f"| {method} | {_joined(cells)} |"
    yield ""
    yield f"| chosen by held-out noisy labels | {_joined(f'{c.noise:.0%} noise' for c in comparisons)} |"
    yield "|---" * (1 + len(comparisons)) + "|"
    for method in METHODS:
        choices = (_choice(comparison, results, method, rule) for comparison in comparisons)
        yield f"| {method} | {_joined(choices)} |"


def rates(comparison: Comparison, results: Results, rule: str) -> Iterator[str]:
    """What tuning saw: accuracy on the held-out noisy part by family and learning rate."""
    yield f"| {comparison.data}, {comparison.noise:.0%} noise, held-out noisy labels | {_joined(RATES)} |"
    yield "|---" * (1 + len(RATES)) + "|"
    for family in dict.fromkeys(family for families in METHODS.values() for family in families):
        scores = [held_out_scores(comparison, results, family.at(lr)) for lr in RATES]
        cells = (f"{100 * score[rule]:.1f}" if score else "" for score in scores)
        yield f"| {_family_words(family)} | {_joined(cells)} |"


def clean_accuracies(comparison: Comparison, results: Results, method: str, rule: str) -> list[float]:
    """Of the setting that tuning chose, by root seed."""
    setting = chosen(comparison, results, method, rule)
    found = [results[judged(comparison, setting, seed)] for seed in range(comparison.seeds)]
    return [result.clean_end if rule == "end" else result.clean_best for result in found]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean, lowest and highest in per cent; `sign` "+" writes one before gains as well."""
    mean, low, high = (f"{100 * value:{sign}z.1f}" for value in (fmean(values), min(values), max(values)))
    return f"{mean} [{low}, {high}]"


def _choice(comparison: Comparison, results: Results, method: str, rule: str) -> str:
    setting = chosen(comparison, results, method, rule)
    found = [results[judged(comparison, setting, seed)] for seed in range(comparison.seeds)]
    epoch = f"epoch {median(result.best_epoch for result in found):g}, " if rule == "best" else ""
    return f"{_words(setting)}; {epoch}{median(result.seconds for result in found):.1f} s"


def _words(setting: Setting) -> str:
    return f"batch {setting.batch_size}, lr {setting.lr:g}{_knob(setting)}"


def _family_words(family: Family) -> str:
    name = next(name for name, families in METHODS.items() if family in families)
    return f"{name}, batch {family.batch_size}{_knob(family)}"


def _knob(family: Family) -> str:
    return f", c {family.winsorize_percent:g}" if family.winsorize_percent else ""


def _joined(cells: Iterable[object]) -> str:
    return " | ".join(map(str, cells))
