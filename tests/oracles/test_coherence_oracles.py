"""Coherence against a plain loop over examples in float64, on networks of all sorts."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import build
from pipeline.gradients import (
    impute_coherence_over,
    measure_coherence,
)
from tests.oracles.slow_gradients import slow_coherence, slow_gradients

LOSS = nn.CrossEntropyLoss(reduction="none")


def loop(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    """Per-example gradients, one backward pass each: `{parameter name: (m, p)}`."""
    rows: dict[str, list[np.ndarray]] = {}
    for i in range(len(inputs)):
        model.zero_grad()
        LOSS(model(inputs[i : i + 1]), targets[i : i + 1]).sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                rows.setdefault(name, []).append(parameter.grad.flatten().clone().numpy())
    return {name: np.stack(values) for name, values in rows.items()}


def m_coherence(gradients: np.ndarray) -> float:
    return np.square(gradients.sum(0)).sum() / np.square(gradients).sum()


def mlp() -> nn.Module:
    return build("mlp", {"widths": [12, 9]}, (1, 8, 8), 10)


def cnn() -> nn.Module:
    return build("cnn", {"widths": [4, 6], "dense": [8]}, (1, 8, 8), 10)


def frozen() -> nn.Module:
    model = cnn()
    model.conv1.requires_grad_(False)
    model.fc1.bias.requires_grad_(False)
    return model


class Recurrent(nn.Module):
    """One layer applied three times."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(64, 10)
        self.again = nn.Linear(10, 10)

    def forward(self, images: Tensor) -> Tensor:
        state = self.read(images.flatten(1))
        for _ in range(3):
            state = torch.tanh(self.again(state))
        return state


class SharedWeight(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(64, 10)
        self.one = nn.Linear(10, 10)
        self.other = nn.Linear(10, 10, bias=False)
        self.other.weight = self.one.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.other(torch.relu(self.one(torch.relu(self.read(images.flatten(1))))))


class Normed(nn.Module):
    """Normalisation within an example, and a parameter that no output depends on."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 10)
        self.unused = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(images))).mean((2, 3)))


def vgg() -> nn.Module:
    return build("vgg11", {}, (1, 32, 32), 10)


def resnet_with_group_norm() -> nn.Module:
    from torchvision.models import resnet18

    model = resnet18(num_classes=10, norm_layer=lambda channels: nn.GroupNorm(4, channels))
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


ZOO = [mlp, cnn, frozen, Recurrent, SharedWeight]


@pytest.mark.parametrize("make", ZOO)
def test_exact_is_the_loop(make):
    torch.manual_seed(3)
    model = make().double()
    inputs, targets = torch.randn(23, 1, 8, 8, dtype=torch.float64), torch.arange(23) % 10
    found = measure_coherence(model, [(inputs[:9], targets[:9]), (inputs[9:], targets[9:])], LOSS)
    rows = loop(model, inputs, targets)
    # Both are float64; they differ by the order of their sums.
    assert found.m_coherence == pytest.approx(m_coherence(np.hstack(list(rows.values()))), rel=1e-9)
    layers: dict[str, list[np.ndarray]] = {}
    for name, values in rows.items():
        layers.setdefault(name.rpartition(".")[0], []).append(values)
    assert set(found.layers) == set(layers)
    for layer, parts in layers.items():
        assert found.layers[layer].m_coherence == pytest.approx(m_coherence(np.hstack(parts)), rel=1e-9), (
            layer
        )


@pytest.mark.parametrize("make", [mlp, cnn, vgg, resnet_with_group_norm])
def test_the_engine_is_the_slow_version(make):
    """Against gradients by torch.func, written out: the whole network, each layer and each tensor."""
    torch.manual_seed(5)
    model = make().double()
    size = 32 if make in (vgg, resnet_with_group_norm) else 8
    inputs, targets = torch.randn(6, 1, size, size, dtype=torch.float64), torch.arange(6)
    found = measure_coherence(model, [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])], LOSS)
    rows = {name: value.flatten(1) for name, value in slow_gradients(model, inputs, targets, LOSS).items()}
    layers = {name.rpartition(".")[0]: [] for name in rows}
    for name, values in rows.items():
        layers[name.rpartition(".")[0]].append(values)
    pairs = [(found, torch.cat(list(rows.values()), dim=1))]
    pairs += [(found.layers[layer], torch.cat(values, dim=1)) for layer, values in layers.items()]
    pairs += [(found.parameters[name], values) for name, values in rows.items()]
    for statistics, gradients in pairs:
        for quantity, value in slow_coherence(gradients).items():
            # Both are float64; the orders of their sums differ, and M - 1 loses a digit or two.
            assert getattr(statistics, quantity) == pytest.approx(value, rel=1e-10, abs=1e-11), quantity


def test_a_parameter_without_influence_is_a_layer_of_zeros():
    torch.manual_seed(0)
    inputs, targets = torch.randn(20, 1, 8, 8), torch.arange(20) % 10
    batches = list(zip(inputs.split(5), targets.split(5), strict=True))
    for found in (
        measure_coherence(Normed(), batches, LOSS),
        impute_coherence_over(Normed(), [batches], LOSS),
    ):
        unused = found.layers["unused"]
        assert (unused.m_coherence, unused.n_live, unused.share) == (0, 0, 0)
        assert found.n_live == found.num_gradients


def test_float32_is_close_to_float64():
    torch.manual_seed(0)
    model = cnn()
    inputs, targets = torch.randn(40, 1, 8, 8), torch.arange(40) % 10
    single = measure_coherence(model, [(inputs, targets)], LOSS)
    double = measure_coherence(model.double(), [(inputs.double(), targets)], LOSS)
    assert single.m_coherence == pytest.approx(double.m_coherence, rel=1e-5)  # gradients of 24 bits


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """1,500 real digits, standardised."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images[:1500]).float().unsqueeze(1)
    return (images - images.mean()) / images.std(), torch.from_numpy(data.target[:1500])


def train(model: nn.Module, inputs: Tensor, targets: Tensor, steps: int) -> None:
    """Plain SGD: real gradients have structure that random ones do not."""
    for step in range(steps):
        rows = torch.arange(step * 64, step * 64 + 64) % len(inputs)
        model.zero_grad()
        LOSS(model(inputs[rows]), targets[rows]).mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad


@pytest.mark.parametrize("steps", [0, 10, 40])
def test_imputed_is_within_a_tenth_of_exact_without_batch_norm(digits, steps):
    """The bar of the project: mean of 5 partitions, m = 500, k = 20."""
    inputs, targets = digits
    torch.manual_seed(1)
    model = build("mlp", {"widths": [32, 32]}, (1, 8, 8), 10)
    train(model, inputs, targets, steps)
    inputs, targets = inputs[:500], targets[:500]
    exact = measure_coherence(model, [(inputs, targets)], LOSS)
    partitions = []
    for _ in range(5):
        order = torch.randperm(500)
        partitions.append([(inputs[rows], targets[rows]) for rows in order.split(20)])
    imputed = impute_coherence_over(model, partitions, LOSS)
    assert imputed.num_examples == exact.num_examples == 500
    assert imputed.m_coherence == pytest.approx(exact.m_coherence, rel=0.1)
    for layer in exact.layers:
        assert imputed.layers[layer].share == pytest.approx(exact.layers[layer].share, rel=0.1)


def test_shuffled_labels_are_less_coherent(digits):
    """A control: the number tells a pattern from none."""
    inputs, targets = digits
    torch.manual_seed(2)
    model = build("mlp", {"widths": [32, 32]}, (1, 8, 8), 10)
    real = measure_coherence(model, [(inputs[:300], targets[:300])], LOSS)
    shuffled = targets[:300][torch.randperm(300)]
    assert real.m_coherence > 1.5 * measure_coherence(model, [(inputs[:300], shuffled)], LOSS).m_coherence


def test_the_standard_error_covers_fresh_draws(digits):
    """Over disjoint sets of 100 digits, alpha_unbiased spreads about as its standard error says."""
    inputs, targets = digits
    torch.manual_seed(4)
    model = build("mlp", {"widths": [32]}, (1, 8, 8), 10)
    order = torch.randperm(1500)
    found = [measure_coherence(model, [(inputs[rows], targets[rows])], LOSS) for rows in order.split(100)]
    spread = np.std([coherence.alpha_unbiased for coherence in found], ddof=1)
    said = np.mean([coherence.standard_error for coherence in found])
    assert 0.5 < said / spread < 2  # fifteen draws: the spread itself is known to a fifth
