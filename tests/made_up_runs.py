"""Runs and measurements that never happened, in the files that real ones leave."""

import csv
import json
import math
from pathlib import Path

import numpy as np

from pipeline.claims.reading import COHERENCE_COLUMNS, CURVE_COLUMNS
from pipeline.config import Params, parse_params
from pipeline.paths import Layout

PARAMS = """
seed: 0
sources:
  digits: {kind: digits}
variants:
  real: {source: digits}
  images50: {source: digits, noise_images: 0.5}
  images100: {source: digits, noise_images: 1.0}
  labels50: {source: digits, noise_labels: 0.5}
runs:
  net-real: &net {variant: real, model: resnet, lr: 0.1, batch_size: 64, epochs: 10, snapshots: {}}
  net-noise: {<<: *net, variant: images100}
  a3: &a3 {variant: real, model: mlp, lr: 0.01, batch_size: 3, epochs: 10, aggregation: a3}
  m3: {<<: *a3, aggregation: m3}
measures:
  net-real: {}
  net-noise: {}
claims:
  CG-1: {real: net-real, noise: net-noise}
  CG-2: {real: net-real, noise: net-noise}
  CG-4-real: {mean: a3, median: m3}
  CG-4-images50: {mean: a3, median: m3}
  CG-4-images100: {mean: a3, median: m3}
  CG-4-labels50: {mean: a3, median: m3}
"""
LAYERS = ("stem", "stage.0", "dense")

Curves = dict[tuple[str, str], list[float]]  # (split, subset) -> accuracy at each epoch from 0 on


def params(text: str = PARAMS) -> Params:
    """The study of these runs, or another one."""
    return parse_params(text, "params.yaml")


def write_curves(layout: Layout, key: str, seed: int, accuracies: Curves) -> None:
    """curves.csv and run.json of one seed. The loss is 2.3 (1 - accuracy)."""
    rows = [
        (epoch, 20 * epoch, split, subset, quantity, repr(value))
        for (split, subset), values in accuracies.items()
        for epoch, accuracy in enumerate(values)
        for quantity, value in (("accuracy", accuracy), ("loss", 2.3 * (1 - accuracy)), ("examples", 500.0))
    ]
    write_table(layout.run(key) / f"seed-{seed}" / "curves.csv", CURVE_COLUMNS, rows)
    (layout.run(key) / "run.json").write_text(json.dumps({"input_shape": [1, 8, 8], "num_classes": 10}))


def snapshot(seed: int, step: int, value: float, **other: object) -> dict[str, object]:
    """A row of coherence.csv: whole net, train, imputed at m = 500, k = 20; `other` columns replace these."""
    where = {"run": "made-up", "seed": seed, "step": step, "epoch": step / 20, "loss": 1.0}
    what = {"split": "train", "subset": "all", "layer": "all", "quantity": "m_coherence", "value": value}
    certainty = {"standard_error": 0.1, "se_valid": True, "n_eff": 20.0, "n_live": 25}
    how = {"m": 500, "k": 20, "estimator": "imputed", "batch_norm": "train"}
    return {**where, **what, **certainty, **how, **other}


def write_coherence(layout: Layout, key: str, rows: list[dict[str, object]]) -> None:
    """coherence.csv of a run."""
    path = layout.measures(key) / "coherence.csv"
    write_table(path, COHERENCE_COLUMNS, [[row[name] for name in COHERENCE_COLUMNS] for row in rows])


def write_table(path: Path, columns: tuple[str, ...], rows: list) -> None:
    """A CSV file in a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def write_study(layout: Layout, study: Params) -> None:
    """Plausible files for every run of `study`: real data and the mean learn, noise and the median less."""
    for key, run in study.runs.items():
        variant = study.variants[run.variant]
        noise, seeds = max(variant.noise_images, variant.noise_labels), range(run.seeds)
        for seed in seeds:
            random = np.random.default_rng([seed, *key.encode()])
            corrupt_end = 0.15 if run.takes_median else 0.97
            curves = {
                ("train", "pristine"): _rise(random, run.epochs, 0.97, 0.7),
                ("train", "corrupt"): _rise(random, run.epochs, corrupt_end, 0.25),
                ("test", "all"): _rise(random, run.epochs, 0.95 * (1 - noise) + 0.1 * noise, 0.6),
            }
            mixed = [(1 - noise) * a + noise * b for a, b in zip(*list(curves.values())[:2], strict=True)]
            curves[("train", "all")] = mixed
            for subset, share in (("pristine", 1 - noise), ("corrupt", noise)):
                if not share:
                    curves[("train", subset)] = [math.nan] * (run.epochs + 1)
            write_curves(layout, key, seed, curves)
        if key in study.measures:
            peak = 1.3 if variant.noise_images == 1 else 7.0
            rows = [row for seed in seeds for row in _parabola(seed, key, run.epochs, peak)]
            write_coherence(layout, key, rows)


def _rise(random: np.random.Generator, epochs: int, end: float, pace: float) -> list[float]:
    epoch = np.arange(epochs + 1)
    ripples = random.normal(0, 0.006, epochs + 1)
    return [float(a) for a in np.clip(0.1 + (end - 0.1) * (1 - np.exp(-pace * epoch)) + ripples, 0, 1)]


def _parabola(seed: int, key: str, epochs: int, peak: float) -> list[dict[str, object]]:
    """M that starts at many times its peak in step 0, rises, and falls back to 1, on both splits."""
    random = np.random.default_rng([seed, *key.encode(), 1])
    rows = []
    for position in range(22):
        share = position / 21
        where = {
            "epoch": epochs * share**2,
            "loss": float(2.3 * (0.004 ** (share**1.5)) * np.exp(random.normal(0, 0.05))),
            "n_eff": 24.0 - 20.0 * share,
            "se_valid": bool(share < 0.8),
        }
        for split in ("train", "test"):
            for layer in ("all", *LAYERS):
                scale = {"stem": 2.5 if peak > 2 else 1.1, "dense": 4.0}.get(layer, 1.0)
                bump = 1 + (peak * scale - 1) * 4 * share * (1 - share) if position else 9 * peak
                value = float(bump * np.exp(random.normal(0, 0.05)))
                rows.append(snapshot(seed, 10 * position, value, run=key, split=split, layer=layer, **where))
    return rows
