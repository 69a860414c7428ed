"""Runs, splits and measurements that never happened, for CG-3 and CG-5 to CG-9, plausible from end to end."""

import json
import math
from collections.abc import Iterator

import numpy as np

from pipeline.claims.reading import COHERENCE_COLUMNS, METRIC_COLUMNS
from pipeline.config import Params, Run, Variant
from pipeline.paths import Layout
from pipeline.studies.difficulty.tables import FITS, FitRow
from pipeline.studies.tables import write_rows
from tests.made_up_runs import Curves, snapshot, write_coherence, write_curves, write_table

PARAMS = """
seed: 0
sources:
  digits: {kind: digits}
  glyphs: {kind: glyphs}
variants:
  real: {source: digits}
  glyphs: {source: glyphs}
  images100: {source: digits, noise_images: 1.0}
  labels50: {source: digits, noise_labels: 0.5}
  labels100: {source: digits, noise_labels: 1.0}
runs:
  c-labels0: &c
    variant: real
    model: mlp
    lr: 0.2
    batch_size: 100
    epochs: 20
    aggregation: winsorized
    vary: {c0: {winsorize_percent: 0}, c2: {winsorize_percent: 2}, c8: {winsorize_percent: 8}}
  c-labels50: {<<: *c, variant: labels50}
  c-labels100: {<<: *c, variant: labels100}
  scorer: &glyphs {variant: glyphs, model: mlp, lr: 0.1, batch_size: 32, epochs: 12, scores: true}
  easy: &view {variant: halves.easy, model: mlp, lr: 0.1, batch_size: 32, epochs: 12, snapshots: {}}
  hard: {<<: *view, variant: halves.hard}
  random: {<<: *view, variant: halves.random}
  all: {<<: *view, variant: halves.all}
  half: {variant: labels50, model: resnet, lr: 0.1, batch_size: 64, epochs: 24, snapshots: {}}
  mlp-real: &mlp
    {variant: real, model: mlp, lr: 0.1, batch_size: 64, epochs: 20, snapshots: {first_steps: 25}}
  mlp-noise: {<<: *mlp, variant: images100, epochs: 60}
  vgg-real: &vgg
    {variant: real, seeds: 2, model: vgg11, lr: 0.1, batch_size: 64, epochs: 20, snapshots: {first_steps: 3}}
  sizes:
    variant: images100
    model: mlp
    lr: 0.02
    batch_size: 3
    epochs: 20
    vary:
      a3-1: {aggregation: a3}
      m3-1: {aggregation: m3}
      a3-4: {aggregation: a3, batch_size: 12, lr: 0.08}
      m3-4: {aggregation: m3, batch_size: 12, lr: 0.08}
      a3-16: {aggregation: a3, batch_size: 48, lr: 0.32}
      m3-16: {aggregation: m3, batch_size: 48, lr: 0.32}
  rates:
    variant: images100
    model: mlp
    lr: 0.02
    batch_size: 12
    epochs: 20
    aggregation: m3
    vary: {lr-2: {lr: 0.02}, lr-8: {lr: 0.08}, lr-32: {lr: 0.32}, lr-128: {lr: 1.28}}
splits:
  halves: {run: scorer, train_examples: 500, test_examples: 200, fits: {examples: 30, lr: 0.1}}
measures:
  easy: {}
  hard: {}
  random: {subsets: [easy, hard]}
  all: {subsets: [easy, hard]}
  half: {subsets: [pristine, corrupt]}
  mlp-real: {sizes: [50, 100, 200], pairs: 100, bound: true}
  mlp-noise: {sizes: [50, 100, 200], pairs: 100, bound: true}
  vgg-real: {}
claims:
  CG-3: {labels0: c-labels0, labels50: c-labels50, labels100: c-labels100}
  CG-5: {easy: easy, hard: hard, random: random, all: all}
  CG-6: {split: halves}
  CG-7: {run: half}
  CG-8: {mlp-real: mlp-real, mlp-noise: mlp-noise, vgg-real: vgg-real}
  CG-9: {sizes: sizes, rates: rates}
"""
SETS = ("easy", "hard", "random")
LAYERS = ("0", "2", "4", "6")
TRANSFER = {
    "easy": (0.95, 0.4, 0.65),
    "hard": (0.28, 0.3, 0.3),
    "random": (0.9, 0.45, 0.68),
    "all": (0.95, 0.5, 0.75),
}
STEPS_PER_EPOCH = 20  # as `write_curves` has it


def write_all(layout: Layout, study: Params) -> None:
    """Files for every run, split and measure of these params."""
    for key, run in study.runs.items():
        variant = study.variants[study.variant_of(run)]
        for point, varied in (run.points() or {"": run}).items():
            for seed in range(run.seeds):
                random = np.random.default_rng([seed, *f"{key}{point}".encode()])
                write_curves(layout, f"{key}/{point}", seed, _curves(random, varied, variant))
        facts = {"input_shape": [1, 8, 8], "num_classes": 10}
        (layout.run(key) / "run.json").write_text(json.dumps(facts))
        if key in study.measures:
            _write_measures(layout, key, study)
    for key, split in study.splits.items():
        seeds = range(study.runs[split.run].seeds)
        write_rows(layout.split(key) / FITS, FitRow, _fits(seeds, split.fits.examples))


def _curves(random: np.random.Generator, run: Run, variant: Variant) -> Curves:
    noise = max(variant.noise_labels * 0.9, variant.noise_images)
    view = run.variant.partition(".")[2]
    memorised = _memorised(run)
    curves = {
        ("train", "pristine"): rise(random, run.epochs, 0.97, 0.7),
        ("train", "corrupt"): rise(random, run.epochs, memorised, 0.12),
        ("test", "all"): rise(random, run.epochs, 0.95 * (1 - noise) + 0.1 * noise, 0.6),
    }
    mixed = [(1 - noise) * a + noise * b for a, b in zip(*list(curves.values())[:2], strict=True)]
    curves["train", "all"] = mixed
    if variant.noise_labels:
        peak = rise(random, run.epochs, 0.9, 0.9)
        fall = np.linspace(0, 0.35 * memorised, run.epochs + 1)
        curves["test", "all"] = [float(a - b) for a, b in zip(peak, fall, strict=True)]
    for place, name in enumerate(SETS) if view else ():
        curves["test", name] = rise(random, run.epochs, TRANSFER[view][place], 0.8)
    return curves


def _memorised(run: Run) -> float:
    """What a network learns of its corrupt examples at last: winsorising and the median keep it from them."""
    if run.takes_median:
        return min(1.0, 0.2 + 0.3 * math.log(run.micro_batch_size, 4) / 2 + 0.02 * run.lr / 0.02)
    return 0.92 / (1 + 0.6 * run.winsorize_percent)


def rise(random: np.random.Generator, epochs: int, end: float, pace: float) -> list[float]:
    """An accuracy over epochs, from chance."""
    epoch = np.arange(epochs + 1)
    values = 0.1 + (end - 0.1) * (1 - np.exp(-pace * epoch)) + random.normal(0, 0.006, epochs + 1)
    return [float(value) for value in np.clip(values, 0, 1)]


def _write_measures(layout: Layout, key: str, study: Params) -> None:
    run, measure = study.runs[key], study.measures[key]
    peak = 3.0 if study.variants[study.variant_of(run)].noise_images else 12.0
    rows: list[dict] = []
    for seed in range(run.seeds):
        random = np.random.default_rng([seed, *key.encode(), 1])
        for where, height in _moments(run, seed, peak):
            for split in ("train", "test"):
                for place, layer in enumerate(("all", *LAYERS)):
                    value = 1 + height * (0.5 + 0.5 * place) * np.exp(random.normal(0, 0.05))
                    rows.append(snapshot(value=float(value), split=split, layer=layer, **where))
                for place, subset in enumerate(measure.subsets):
                    value = 1 + height / (1 + place) * np.exp(random.normal(0, 0.05))
                    rows.append(snapshot(value=float(value), split=split, subset=subset, **where))
    write_coherence(layout, key, rows)
    whole = [row for row in rows if (row["split"], row["subset"], row["layer"]) == ("train", "all", "all")]
    if measure.sizes:
        sized = [
            {**row, "m": m, "value": 1 + (row["value"] - 1) * (m - 1) / (row["m"] - 1)}
            for row in whole
            for m in measure.sizes
        ]
        columns = [[row[name] for name in COHERENCE_COLUMNS] for row in sized]
        write_table(layout.measures(key) / "sizes.csv", COHERENCE_COLUMNS, columns)
    if measure.pairs or measure.bound:
        lines = [line for row in whole for line in _metrics(row)]
        write_table(layout.measures(key) / "metrics.csv", METRIC_COLUMNS, lines)


def _moments(run: Run, seed: int, peak: float) -> Iterator[tuple[dict, float]]:
    """Snapshots of a run with M - 1: high in the first steps, then up to the peak, and down to nothing."""
    first = run.snapshots.first_steps
    total = run.epochs * STEPS_PER_EPOCH
    steps = [*range(first), *(first + round((total - first) * share**2) for share in np.linspace(0.1, 1, 14))]
    for step in steps:
        share = step / total
        height = 9 * peak * 0.7**step if step < first else 4 * peak * (share**0.5 - share) + 0.02
        loss = 2.3 * math.exp(-4.2 * share**0.5)
        where = {"seed": seed, "step": step, "epoch": step / STEPS_PER_EPOCH, "loss": loss}
        yield {**where, "n_eff": 24.0 - 12 * share, "se_valid": share < 0.8}, max(height, 0.0)


def _metrics(row: dict) -> list[list]:
    alpha = (row["value"] - 1) / (row["m"] - 1)
    values = {
        "mean_dot": 3 * alpha,
        "mean_distance": math.sqrt(2 * (1 - alpha)),
        "mean_squared_distance": 2 * (1 - alpha),
        "diversity": 1 / row["value"],
        "noise_scale": (1 - alpha) / alpha,
        "stiffness_sign": 5 * alpha,
        "stiffness_sign_within": 9 * alpha,
        "stiffness_sign_between": 4 * alpha,
        "stiffness_cosine": alpha,
        "stiffness_cosine_within": 2 * alpha,
        "stiffness_cosine_between": 0.8 * alpha,
        "confusion": -0.8 + alpha,
        "m_coherence": 1 + 99 * alpha,
        "alpha": alpha,
        "gradient_norm_max": 3.0 + row["loss"],
        "smoothness": 12.0 + row["value"],
    }
    where = [row[name] for name in ("run", "seed", "step", "epoch", "loss", "split")]
    return [[*where, quantity, value, 100] for quantity, value in values.items()]


def _fits(seeds: range, examples: int) -> list[FitRow]:
    rows = []
    for seed in seeds:
        random = np.random.default_rng([seed, 6])
        for kind in ("easy", "hard"):
            steps = 3 + random.poisson(5, examples)
            rows += [
                FitRow(seed=seed, set=kind, index=n, label=n % 10, steps=int(steps[n]), fitted=True)
                for n in range(examples)
            ]
    return rows
