"""The engine leaves networks, gradients and memory as plain autograd would."""

import copy
import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pipeline.gradients.engine import PerExampleBackward
from tests.oracles.loops import looped_gradients
from tests.unit.engine_asserts import LOSS, assert_exact, batch, dense, ignore, tokens
from tests.unit.engine_cases import Calling, calling, class_token, layer, linear, values

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": dense,
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 2, 2)),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular", groups=2),
        nn.PReLU(4),
        nn.Flatten(),
        nn.Linear(16, 3),
    ),
    "transformer": calling(
        lambda self, x: self.head(self.layer(x.view(len(x), 2, 4) + self.positions).mean(1)),
        layer=lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
        positions=values(1, 2, 4),
        head=linear(4, 3),
    ),
    "shared weight": calling(
        lambda self, x: self.head(self.inner(self.inner(x).tanh())), inner=linear(8, 8), head=linear(8, 3)
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 3)),
    "recurrent": calling(
        lambda self, x: self.inner(x.view(len(x), 2, 4))[0][:, -1],
        inner=lambda: nn.LSTM(4, 3, batch_first=True),
    ),
    "frozen": lambda: nn.Sequential(nn.Linear(8, 8).requires_grad_(False), nn.Tanh(), nn.Linear(8, 3)),
    "unused": calling(lambda self, x: self.inner(x), inner=linear(8, 3), idle=linear(2, 2)),
}


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    return model, copy.deepcopy(model)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [1, 6])
def test_observing_leaves_training_bitwise_as_it_is(name, size):
    model, twin = twins(name)
    engine = PerExampleBackward(model, LOSS)
    inputs, targets = batch(size)
    plain, observed = (torch.optim.SGD(own.parameters(), 0.1, momentum=0.9) for own in (twin, model))
    torch.manual_seed(3)
    for step in range(4):
        losses = LOSS(twin(inputs), targets)
        losses.mean().backward()
        if step % 2:  # two gradients are accumulated
            plain.step()
            plain.zero_grad()
    after = torch.get_rng_state()
    torch.manual_seed(3)
    for step in range(4):
        found: dict[str, Tensor] = {}
        engine.observing(
            inputs,
            targets,
            lambda name, factor, found=found: found.update({name: factor.totals([slice(None)])[0]}),
        )
        assert set(found) == set(engine.parameters)
        if step % 2:
            observed.step()
            observed.zero_grad()
    assert torch.equal(torch.get_rng_state(), after)
    for own, others in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(own, others)


@pytest.mark.parametrize("name", NETWORKS)
def test_totals_while_observing_are_the_gradient_of_the_sum(name):
    model, _ = twins(name)
    model.eval()
    inputs, targets = batch()
    found: dict[str, Tensor] = {}
    PerExampleBackward(model, LOSS).observing(
        inputs, targets, lambda name, factor: found.update({name: factor.totals([slice(None)])[0]})
    )
    parameters = dict(model.named_parameters())
    for name_of in found:
        parameter = parameters[name_of]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert (found[name_of] / len(inputs) - gradient).norm() <= 1e-5 * (gradient.norm() + 1e-3), (
            name_of
        )  # float32


@pytest.mark.parametrize("name", NETWORKS)
def test_measuring_touches_nothing(name):
    model, twin = twins(name)
    inputs, targets = batch()
    model(inputs)  # buffers that move in training move once a run
    twin(inputs)
    torch.manual_seed(0)
    twin(inputs)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    needs = [parameter.requires_grad for parameter in model.parameters()]
    PerExampleBackward(model, LOSS)(inputs, targets, ignore)
    # As after a single run: the two of the probe leave no trace.
    assert torch.equal(torch.get_rng_state(), after)
    for own, others in zip(model.buffers(), twin.buffers(), strict=True):
        assert torch.equal(own, others)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == needs
    assert not inputs.requires_grad


class Counting(nn.Module):
    """Counts its runs in a buffer, by writing into it or by a new one."""

    def __init__(self, *, in_place: bool):
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))
        self.in_place = in_place

    def forward(self, inputs: Tensor) -> Tensor:
        if self.in_place:
            self.runs.add_(1)
        else:
            self.runs = self.runs + 1
        return inputs


@pytest.mark.parametrize("in_place", [True, False])
def test_a_shared_module_counts_the_run_and_not_those_of_the_probe(in_place):
    model = dense()
    counting = Counting(in_place=in_place)
    model = nn.Sequential(counting, model, nn.Sequential(counting))
    PerExampleBackward(model, LOSS)(*batch(), ignore)
    assert counting.runs == 2  # it stands in two places
    assert set(dict(model.named_buffers())) == {"0.runs"}  # one still


class Marked(torch.autograd.Function):
    """The identity; an object of its own in the graph shows how long the graph lives."""

    alive: weakref.ref

    @staticmethod
    def forward(ctx, inputs: Tensor) -> Tensor:
        ctx.mark = Mark()
        Marked.alive = weakref.ref(ctx.mark)
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class Mark:
    """Something to refer to weakly."""


@pytest.fixture
def no_garbage_collection():
    """Only counts of references free memory."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def marked() -> nn.Module:
    torch.manual_seed(0)
    return calling(
        lambda self, x: self.head(self.gate(Marked.apply(self.inner(x)))),
        inner=linear(8, 4),
        gate=lambda: nn.PReLU(4),
        head=linear(4, 3),
    )()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("way", ["__call__", "observing"])
def test_the_graph_dies_with_the_pass(way):
    engine = PerExampleBackward(marked(), LOSS)
    kept = []
    for _ in range(2):  # with the probe, and without
        getattr(engine, way)(*batch(), lambda name, factor: kept.append(factor))
        assert Marked.alive() is None


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("way", ["__call__", "observing"])
@pytest.mark.parametrize("fatal", ["head.weight", "gate.weight", "inner.bias"])
def test_after_an_exception_there_is_no_hook_and_no_graph(way, fatal):
    model = marked()
    engine = PerExampleBackward(model, LOSS)

    def take(name: str, factor: object) -> None:
        if name == fatal:
            raise RuntimeError("the user's mistake")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="the user's mistake") as error:
            getattr(engine, way)(*batch(), take)
        error.value.__traceback__ = None
        del error
        assert Marked.alive() is None
    model.zero_grad()
    assert_exact(model, *batch())


def test_after_an_exception_in_the_loss_the_engine_still_works():
    calls = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(outputs))
        if len(calls) in (1, 3):  # the run itself, and a run of the probe
            raise ZeroDivisionError("the user's mistake")
        return LOSS(outputs, targets)

    model = dense()
    engine = PerExampleBackward(model, loss)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            engine(*batch(), ignore)
    engine(*batch(), ignore)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_factors_may_be_kept_after_the_pass():
    torch.manual_seed(0)
    model = layer(
        lambda: Calling(
            class_token,
            token=torch.randn(1, 1, 6),
            positions=torch.randn(1, 9, 6),
            scale=torch.randn(6),
            norm=nn.LayerNorm(6),
            mix=nn.Linear(6, 6),
            attend=nn.MultiheadAttention(6, 2, batch_first=True),
            head=nn.Linear(6, 3),
        )
    )()
    kept = {}
    PerExampleBackward(model, LOSS)(*tokens(), lambda name, factor: kept.update({name: factor}))
    for name, rows in looped_gradients(model, *tokens(), LOSS).items():
        assert (kept[name].written_out() - rows).norm() <= 1e-5 * rows.norm() + 1e-7  # rounding of float32
        assert not kept[name].written_out().requires_grad
