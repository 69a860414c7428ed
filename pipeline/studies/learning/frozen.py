"""G-5: the regression y = x0 x1 + noise by a 2-N-1 network, its first layer learning or frozen (Section 3.2).

Frozen, the network is a linear regression on fixed random features. Both start from the same weights; all
seeds, frozen and not, descend side by side. float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import Regression
from pipeline.streams import generator
from pipeline.studies.learning.dense import (
    Layer,
    Networks,
    Passed,
    descended,
    initial,
    outputs_of,
    passed,
    squared_error,
)
from pipeline.studies.learning.tables import BIAS, FROZEN, UNFROZEN, CurveRow, FeatureRow, MeanRow

NUM_INPUTS = 2


@dataclass(frozen=True, eq=False)
class Examples:
    """A set of examples for each seed: `inputs (b, i, 2)`, `targets (b, i)`."""

    inputs: Tensor
    targets: Tensor

    def twice(self) -> "Examples":
        """For the unfrozen networks, and again for the frozen ones."""
        return Examples(self.inputs.repeat(2, 1, 1), self.targets.repeat(2, 1))


@dataclass(frozen=True, eq=False)
class State:
    """All networks before the update of `step`; `(b,)`: the seeds unfrozen, then the seeds frozen."""

    step: int
    train_loss: Tensor  # (b,)
    test_loss: Tensor  # (b,)
    gsnr: Tensor  # (b, p), of the weight of each feature and of the bias, ddof 1
    correlations: Tensor  # (b, N), of each feature with y, over the training set


@dataclass(frozen=True)
class Followed:
    """The tables of one item."""

    means: list[MeanRow]
    curves: list[CurveRow]
    features: list[FeatureRow]


def draw(spec: Regression, root_seed: int, part: str, device: torch.device | str = "cpu") -> Examples:
    """The `train` or the `test` examples: x uniform in [-1, 1]², noise uniform in ± `spec.noise`."""
    size = spec.train_examples if part == "train" else spec.test_examples
    inputs, targets = [], []
    for seed in range(spec.seeds):
        source = generator(root_seed, "learning", "regression", seed, part)
        x = torch.from_numpy(source.uniform(-1, 1, (size, NUM_INPUTS)))
        noise = torch.from_numpy(source.uniform(-spec.noise, spec.noise, size))
        inputs.append(x)
        targets.append(x[:, 0] * x[:, 1] + noise)
    return Examples(torch.stack(inputs).to(device), torch.stack(targets).to(device))


def start(spec: Regression, root_seed: int, device: torch.device | str = "cpu") -> Networks:
    """Initial networks, one for each seed: PyTorch's default times `spec.init_scale`, output bias 0."""
    generators = [generator(root_seed, "learning", "regression", seed, "init") for seed in range(spec.seeds)]
    widths = (NUM_INPUTS, spec.hidden, 1)
    first, second = initial(widths, generators, dtype=torch.float64, device=device, scale=spec.init_scale)
    return first, Layer(second.weight, torch.zeros_like(second.bias))


def states(spec: Regression, root_seed: int, device: torch.device | str = "cpu") -> Iterator[State]:
    """Steps 0, `spec.every`, .. and the last."""
    train, test = (draw(spec, root_seed, part, device).twice() for part in ("train", "test"))
    networks = tuple(
        Layer(layer.weight.repeat(2, 1, 1), layer.bias.repeat(2, 1))
        for layer in start(spec, root_seed, device)
    )
    learns = torch.arange(2 * spec.seeds, device=device) < spec.seeds
    for step in range(spec.steps + 1):
        now = passed(networks, train.inputs, train.targets, squared_error)
        if step % spec.every == 0 or step == spec.steps:
            yield _state(step, networks, now, train, test)
        first, second = now.mean_gradient
        first = Layer(first.weight * learns[:, None, None], first.bias * learns[:, None])
        networks = descended(networks, (first, second), spec.lr)


def follow(spec: Regression, root_seed: int, device: torch.device | str = "cpu") -> Followed:
    """The tables, by seed."""
    found = [_on_cpu(state) for state in states(spec, root_seed, device)]
    seeds = range(spec.seeds)
    return Followed(
        [row for seed in seeds for row in _mean_rows(spec, seed, found)],
        [row for seed in seeds for row in _curve_rows(seed, found)],
        [row for seed in seeds for row in _feature_rows(spec, seed, found)],
    )


def gsnr(gradients: Tensor) -> Tensor:
    """mean² / variance (ddof 1) over the examples of `gradients (b, i, p)`: `(b, p)`, NaN for 0/0."""
    return gradients.mean(dim=1).square() / gradients.var(dim=1)  # torch's variance takes two passes


def debias(values: Tensor, num_examples: int) -> Tensor:
    """Unbiased for normal gradients: ((n-3)/(n-1)) r - 1/n."""
    return values * ((num_examples - 3) / (num_examples - 1)) - 1 / num_examples


def _state(step: int, networks: Networks, now: Passed, train: Examples, test: Examples) -> State:
    features, delta = now.inputs[1], now.deltas[1]
    _, predicted = outputs_of(networks, test.inputs)
    return State(
        step=step,
        train_loss=now.losses.mean(dim=1),
        test_loss=squared_error(predicted, test.targets)[0].mean(dim=1),
        gsnr=gsnr(torch.cat([delta * features, delta], dim=-1)),
        correlations=_correlations(features, train.targets),
    )


def _correlations(features: Tensor, targets: Tensor) -> Tensor:
    """Pearson's, of each feature `(b, i, s)` with the targets `(b, i)`; NaN without variance."""
    x = features - features.mean(dim=1, keepdim=True)
    y = (targets - targets.mean(dim=1, keepdim=True))[..., None]
    return (x * y).sum(dim=1) / (x.square().sum(dim=1) * y.square().sum(dim=1)).sqrt()


def _on_cpu(state: State) -> State:
    return State(
        state.step,
        *(each.cpu() for each in (state.train_loss, state.test_loss, state.gsnr, state.correlations)),
    )


def _mean_rows(spec: Regression, seed: int, found: list[State]) -> Iterator[MeanRow]:
    for place, kind in ((seed, UNFROZEN), (spec.seeds + seed, FROZEN)):
        for state in found:
            values = state.gsnr[place]
            finite = values[values.isfinite()]
            mean = finite.mean()  # NaN of none
            yield MeanRow(
                seed,
                kind,
                state.step,
                state.train_loss[place].item(),
                state.test_loss[place].item(),
                mean.item(),
                debias(mean, spec.train_examples).item(),
                len(values) - len(finite),
            )


def _curve_rows(seed: int, found: list[State]) -> Iterator[CurveRow]:
    for state in found:
        *weights, bias = state.gsnr[seed].tolist()
        yield from (CurveRow(seed, state.step, str(number), value) for number, value in enumerate(weights))
        yield CurveRow(seed, state.step, BIAS, bias)


def _feature_rows(spec: Regression, seed: int, found: list[State]) -> Iterator[FeatureRow]:
    curves = torch.stack([state.gsnr[seed] for state in found])  # (t, p)
    peaks = curves.nan_to_num(nan=-1.0).argmax(dim=0).tolist()  # of a feature that never lives: step 0
    for feature in range(spec.hidden):
        peak = peaks[feature]
        yield FeatureRow(
            seed,
            feature,
            found[0].correlations[seed, feature].item(),
            found[peak].step,
            found[peak].correlations[seed, feature].item(),
            curves[0, feature].item(),
            curves[peak, feature].item(),
        )
