"""One-step ratios of many networks together, against a loop over sets and examples in torch's layers."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.config import Osgr, OsgrToy
from pipeline.studies.osgr import descent
from pipeline.studies.osgr.descent import mean_gradient, step
from pipeline.studies.osgr.draws import Data
from pipeline.studies.osgr.networks import Network, build
from pipeline.studies.osgr.ratios import measure
from tests.oracles.loops import looped_gradients

SETS, EXAMPLES, TEST, CLASSES, WIDTH, BATCHES, LR = 2, 16, 11, 4, 3, 4, 0.05
GRID = {
    "sets": SETS,
    "examples": [EXAMPLES],
    "noise": [0.5],
    "widths": [WIDTH],
    "test_examples": TEST,
    "lr": LR,
    "epochs": [0],
}
SPECS = {
    "toy": OsgrToy(**GRID),
    "cnn": Osgr(network="cnn", variant="any", kernel=3, padding=1, **GRID),
    "cnn of 5x5": Osgr(network="cnn", variant="any", kernel=5, padding=2, **GRID),
    "cnn_bn": Osgr(network="cnn_bn", variant="any", blocks=2, batches=BATCHES, **GRID),
}
# Sums of a few thousand numbers near 1, in float64.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def torch_network(name: str) -> nn.Sequential:
    """The network as the paper's tables print it: ReLU before pooling, no ReLU after the last layer."""
    if name == "toy":
        return nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
    if name == "cnn_bn":
        widths = [1, WIDTH, WIDTH, 2 * WIDTH, 2 * WIDTH]
        parts = []
        for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
            normed = nn.BatchNorm2d(fan_out, momentum=1.0)
            parts += [nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False), normed, nn.ReLU()]
            parts += [nn.MaxPool2d(2)] if place % 2 else []
        top, flat = 2 * WIDTH, 2 * WIDTH * 4
        dense = [nn.Linear(flat, top), nn.ReLU(), nn.Linear(top, top), nn.ReLU(), nn.Linear(top, CLASSES)]
        return nn.Sequential(*parts, nn.Flatten(), *dense)
    kernel, second = (5 if "5x5" in name else 3), int(2.5 * WIDTH)
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(WIDTH, second, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * second, 10 * second),
        nn.ReLU(),
        nn.Linear(10 * second, CLASSES),
    )


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return (outputs[:, 0] - targets) ** 2
    return cross_entropy(outputs, targets, reduction="none")


class Case:
    """A network of each set, twice: as the study has them, and as torch has them."""

    def __init__(self, name: str):
        random = torch.Generator().manual_seed(7)
        shape = (2,) if name == "toy" else (1, 8, 8)
        self.network: Network = build(SPECS[name], WIDTH, shape, CLASSES)
        inputs = torch.randn(SETS, EXAMPLES, *shape, generator=random, dtype=torch.float64)
        test_inputs = torch.randn(TEST, *shape, generator=random, dtype=torch.float64)
        if name == "toy":
            targets, test_targets = inputs.prod(-1) + 0.3, test_inputs.prod(-1)
        else:
            targets = torch.randint(CLASSES, (SETS, EXAMPLES), generator=random)
            test_targets = torch.randint(CLASSES, (TEST,), generator=random)
        self.data = Data(inputs, targets, test_inputs, test_targets)
        self.models = [torch_network(name).double() for _ in range(SETS)]
        for model in self.models:
            for parameter in model.parameters():
                parameter.data = 0.5 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        rows = zip(*(model.parameters() for model in self.models), strict=True)
        stacked = [torch.stack([value.detach() for value in row]) for row in rows]
        self.weights = dict(zip(self.network.shapes(), stacked, strict=True))

    def train_loss(self, number: int) -> Tensor:
        model = self.models[number].train()
        return losses(model(self.data.inputs[number]), self.data.targets[number]).mean()

    def test_loss(self, number: int) -> float:
        """With the statistics of the training set, which the last call of `train_loss` left."""
        model = self.models[number].eval()
        with torch.no_grad():
            return float(losses(model(self.data.test_inputs), self.data.test_targets).mean())

    def both(self, number: int) -> tuple[float, float]:
        train = self.train_loss(number).item()
        for layer in self.models[number]:
            if isinstance(layer, nn.BatchNorm2d):  # keeps the unbiased variance, normalises by the biased
                count = EXAMPLES * (64 if layer.num_features == WIDTH else 16)
                layer.running_var *= (count - 1) / count
        return train, self.test_loss(number)

    def move(self, number: int, gradient: list[Tensor], rate: float) -> None:
        for parameter, slope in zip(self.models[number].parameters(), gradient, strict=True):
            parameter.data -= rate * slope

    def gradient(self, number: int) -> list[Tensor]:
        return list(torch.autograd.grad(self.train_loss(number), list(self.models[number].parameters())))

    def variance(self, number: int) -> float:
        """Of one example's gradient, over all parameters: exact, or of batches times their size."""
        model, inputs, targets = self.models[number], self.data.inputs[number], self.data.targets[number]
        if not self.network.couples:
            rows = looped_gradients(model, inputs, targets, losses)
            return sum(float(each.var(0, correction=1).sum()) for each in rows.values())
        size, found = EXAMPLES // BATCHES, []
        for start in range(0, EXAMPLES, size):
            part = slice(start, start + size)
            loss = losses(model.train()(inputs[part]), targets[part]).mean()
            found.append(
                torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            )
        return size * float(torch.stack(found).var(0, correction=1).sum())


@pytest.fixture(params=SPECS)
def case(request, monkeypatch) -> Case:
    """With so little room that the work is done in several parts."""
    monkeypatch.setattr(descent, "CPU_BYTES", 2**18)
    return Case(request.param)


def test_both_sides(case):
    found = measure(case.network, case.weights, case.data, LR, BATCHES)
    sums = dict.fromkeys(("test", "train", "across", "square", "variance"), 0.0)
    for number in range(SETS):
        gradient, square = case.gradient(number), 0.0
        square = sum(float((slope**2).sum()) for slope in gradient)
        sums["variance"] += case.variance(number)
        sums["square"] += square
        # The slope of the test loss along the gradient, by central differences.
        tiny, ends = 1e-7, []  # small enough to cross no kink of a ReLU
        for rate in (-tiny, 2 * tiny):
            case.move(number, gradient, rate)
            ends.append(case.both(number)[1])
        case.move(number, gradient, -tiny)
        sums["across"] += (ends[0] - ends[1]) / (2 * tiny)
        before = case.both(number)
        case.move(number, gradient, LR)
        after = case.both(number)
        sums["train"] += after[0] - before[0]
        sums["test"] += after[1] - before[1]
    assert found.lhs == pytest.approx(sums["test"] / sums["train"], rel=1e-8)  # of small differences
    assert found.rhs == pytest.approx(1 - sums["variance"] / (EXAMPLES * sums["square"]), rel=1e-9)
    # A difference over 1e-7 has lost seven of sixteen digits.
    assert found.linearised == pytest.approx(sums["across"] / sums["square"], rel=1e-5, abs=1e-6)


def test_descent(case):
    weights = case.weights
    for _ in range(3):
        weights = step(weights, mean_gradient(case.network, weights, case.data.inputs, case.data.targets), LR)
        for number in range(SETS):
            case.move(number, case.gradient(number), LR)
    for number, model in enumerate(case.models):
        for values, parameter in zip(weights.values(), model.parameters(), strict=True):
            torch.testing.assert_close(values[number], parameter.detach(), **EXACT)


def test_another_test_set_changes_the_left_side_alone(case):
    found = measure(case.network, case.weights, case.data, LR, BATCHES)
    data = Data(case.data.inputs, case.data.targets, case.data.test_inputs.flip(-1), case.data.test_targets)
    other = measure(case.network, case.weights, data, LR, BATCHES)
    assert other.rhs == found.rhs
    assert other.lhs != found.lhs
    assert other.train_loss == found.train_loss
