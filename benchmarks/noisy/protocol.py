"""Which runs a comparison needs: first those that tune each method, then those that judge what was chosen.

A function of the runs that are finished, so that an interrupted comparison goes on where it was.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.noisy.methods import METHODS, RULES, Explored, Scores, Setting, best_of, explore
from pipeline.training.curves import write_table

TUNING_SEEDS = (100, 101)


@dataclass(frozen=True)
class Comparison:
    """One data set at one level of noise: a column of the tables."""

    data: str
    noise: float  # share of the training labels that are drawn anew, uniformly over all classes
    epochs: int
    seeds: int  # root seeds 0 .. seeds - 1 judge


@dataclass(frozen=True)
class Trial:
    """One run: its root seed decides the noise, what is held out, the initial weights and the order."""

    data: str
    noise: float
    epochs: int
    setting: Setting
    root_seed: int
    is_judged: bool  # whether the clean test set is looked at


@dataclass(frozen=True)
class Result:
    """Accuracies of a trial at its end and at its best epoch by the held-out noisy part."""

    held_out_end: float
    held_out_best: float
    best_epoch: int
    clean_end: float | None  # on the clean test set; of judged trials alone
    clean_best: float | None
    seconds: float  # of CPU time, evaluation after each epoch included


Results = Mapping[Trial, Result]


class Ledger(dict[Trial, Result]):
    """The finished trials, as they stand in a CSV file; a new one is written at once."""

    def __init__(self, path: Path):
        super().__init__(_read(path) if path.is_file() else {})
        self.path = path

    def add(self, trial: Trial, result: Result) -> None:
        """Keep a finished trial."""
        self[trial] = result
        columns = [*(field.name for field in fields(Trial) if field.name != "setting")]
        columns += [field.name for kind in (Setting, Result) for field in fields(kind)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_table(self.path, columns, (_row(*item) for item in self.items()))


def complete(comparison: Comparison, ledger: Ledger, train: Callable[[Sequence[Trial]], None]) -> None:
    """Have `train` add what is missing to the ledger, until nothing is."""
    while trials := missing_trials(comparison, ledger):
        train(trials)


def missing_trials(comparison: Comparison, results: Results) -> list[Trial]:
    """The trials to run next; once tuning has settled, those that judge; none at the end."""
    searches = _search(comparison, results)
    untuned = dict.fromkeys(s for found in searches.values() for e in found for s in e.missing)
    if untuned:
        wanted = [_trial(comparison, setting, seed, False) for setting in untuned for seed in TUNING_SEEDS]
    else:
        settings = dict.fromkeys(chosen(comparison, results, m, rule) for m in METHODS for rule in RULES)
        wanted = [judged(comparison, s, seed) for s in settings for seed in range(comparison.seeds)]
    return [trial for trial in wanted if trial not in results]


def chosen(comparison: Comparison, results: Results, method: str, rule: str) -> Setting:
    """What tuning chose: the setting of the highest accuracy on held-out noisy labels."""
    settings = [setting for found in _search(comparison, results)[method] for setting in found.settings]
    scores = {setting: held_out_scores(comparison, results, setting) for setting in settings}
    return best_of(settings, scores, rule)


def judged(comparison: Comparison, setting: Setting, seed: int) -> Trial:
    """The trial that judges a setting on a seed."""
    return _trial(comparison, setting, seed, True)


def held_out_scores(comparison: Comparison, results: Results, setting: Setting) -> Scores | None:
    """Mean held-out accuracy by each rule over the tuning seeds; None until all of them are done."""
    trials = [_trial(comparison, setting, seed, False) for seed in TUNING_SEEDS]
    if any(trial not in results for trial in trials):
        return None
    found = [results[trial] for trial in trials]
    return {"end": fmean(r.held_out_end for r in found), "best": fmean(r.held_out_best for r in found)}


def _search(comparison: Comparison, results: Results) -> dict[str, list[Explored]]:
    def score(setting: Setting) -> Scores | None:
        return held_out_scores(comparison, results, setting)

    return {method: [explore(family, score) for family in families] for method, families in METHODS.items()}


def _trial(comparison: Comparison, setting: Setting, seed: int, is_judged: bool) -> Trial:
    return Trial(comparison.data, comparison.noise, comparison.epochs, setting, seed, is_judged)


def _row(trial: Trial, result: Result) -> dict[str, Any]:
    values = {**asdict(trial), **asdict(trial.setting), **asdict(result)}
    return {name: "" if value is None else value for name, value in values.items()}


def _read(path: Path) -> Results:
    with path.open(newline="", encoding="utf-8") as file:
        return {
            Trial(setting=_typed(Setting, row), **_plain(Trial, row, leave_out="setting")): _typed(
                Result, row
            )
            for row in csv.DictReader(file)
        }


def _typed(kind: type, row: Mapping[str, str]) -> Any:
    return kind(**_plain(kind, row))


def _plain(kind: type, row: Mapping[str, str], leave_out: str = "") -> dict[str, Any]:
    return {f.name: _PARSERS[f.type](row[f.name]) for f in fields(kind) if f.name != leave_out}


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: "True".__eq__,
    float | None: lambda text: float(text) if text else None,
}
