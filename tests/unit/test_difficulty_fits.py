"""Single examples fitted alone: many at once, against one network at a time."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from models import build
from pipeline.studies.difficulty import fits
from pipeline.studies.difficulty.fits import Fit, fit_alone, untrained
from tests.memory import CLASSES, SHAPE, clustered_split

SETTINGS = {"lr": 0.05, "stop_at_loss": 0.2, "most_steps": 60}


@pytest.fixture(autouse=True)
def _one_thread():
    """On tensors this small, several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def one_at_a_time(model, inputs, labels, *, lr, stop_at_loss, most_steps) -> list[Fit]:
    """The same with a copy of the network and torch's own optimizer for each example."""
    found = []
    for image, label in zip(inputs, labels, strict=True):
        network = copy.deepcopy(model)
        sgd = torch.optim.SGD(network.parameters(), lr=lr)
        steps = 0
        while (
            loss := cross_entropy(network(image[None]), label[None])
        ) >= stop_at_loss and steps < most_steps:
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            steps += 1
        found.append(Fit(steps, bool(loss < stop_at_loss)))
    return found


def some_examples(number: int = 9):
    (batch,) = clustered_split(number, seed=1).batches(range(number), number)
    return batch.inputs, batch.labels


class Choosy(nn.Module):
    """Looks at the values: no operation on many copies at once can take this path."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(16, CLASSES)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        return self.dense(flat if flat.sum() > 0 else 2 * flat)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "choosy":
        return Choosy().eval()
    options = {
        "mlp": {"widths": [8]},
        "cnn": {"widths": [4], "dense": [8]},
        "resnet": {"widths": [4], "blocks": [1]},
    }
    return build(name, options[name], SHAPE, CLASSES).eval()


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "choosy"])
def test_many_at_once_take_the_steps_of_one_at_a_time(name, monkeypatch):
    model, (inputs, labels) = network(name), some_examples()
    before = copy.deepcopy(model.state_dict())
    found = fit_alone(model, inputs, labels, **SETTINGS)
    # Steps are whole numbers: rounding shows only if a loss is within 1e-6 of the one to stop at.
    assert found == one_at_a_time(model, inputs, labels, **SETTINGS)
    assert len({fit.steps for fit in found}) > 1
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    monkeypatch.setattr(fits, "COPIES_BYTES", 0)
    assert fit_alone(model, inputs, labels, **SETTINGS) == found


def test_the_most_steps_and_none_at_all():
    model, (inputs, labels) = network("mlp"), some_examples(4)
    assert fit_alone(model, inputs, labels, lr=1e-6, stop_at_loss=0.1, most_steps=7) == [Fit(7, False)] * 4
    assert fit_alone(model, inputs, labels, lr=0.1, stop_at_loss=9.0, most_steps=7) == [Fit(0, True)] * 4


def test_an_example_that_diverges_is_not_fitted_and_stops_no_other():
    model, (inputs, labels) = network("mlp"), some_examples(3)
    inputs[1] = torch.inf
    found = fit_alone(model, inputs, labels, **SETTINGS)
    assert found[1] == Fit(60, False)
    assert [fit.fitted for fit in found] == [True, False, True]


def test_frozen_parameters_stay():
    model, (inputs, labels) = network("mlp"), some_examples(3)
    for parameter in model.fc1.parameters():
        parameter.requires_grad_(False)
    assert fit_alone(model, inputs, labels, **SETTINGS) == one_at_a_time(model, inputs, labels, **SETTINGS)


def test_the_scorers_start_from_their_first_weights_and_keep_the_statistics_of_a_batch():
    train = clustered_split(60, seed=2)
    model = untrained("resnet", {"widths": [4], "blocks": [1]}, 3, 7, train)
    again = untrained("resnet", {"widths": [4], "blocks": [1]}, 3, 7, train)
    other = untrained("resnet", {"widths": [4], "blocks": [1]}, 4, 7, train)
    assert not model.training
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(model.parameters()), next(other.parameters()))
    (batch,) = train.batches(range(60), 60)
    with torch.no_grad():
        features = model.get_submodule(next(name for name, _ in model.named_modules() if "conv" in name))(
            batch.inputs
        )
    normed = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    # The sums go over the same 960 values in another order.
    torch.testing.assert_close(normed.running_mean, features.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(normed.running_var, features.var((0, 2, 3)), rtol=1e-5, atol=1e-6)
