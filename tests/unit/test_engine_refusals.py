"""What the engine refuses, in which words, and odd networks that it takes."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from pipeline.gradients import GradientError, impute_coherence, measure_coherence
from pipeline.gradients.checks import unwrapped
from pipeline.gradients.engine import PerExampleBackward
from tests.oracles.loops import looped_gradients
from tests.unit.engine_asserts import LOSS, assert_exact, batch, dense, ignore, tokens, written
from tests.unit.engine_cases import Calling, calling, linear, values

# Wrapped networks


def test_a_compiled_network_is_measured_by_its_inside():
    model = dense()
    wrapped = torch.compile(model, backend="eager")
    assert unwrapped(wrapped) is model
    assert set(written(wrapped, *batch())) == set(dict(model.named_parameters()))
    assert_exact(wrapped, *batch())


def test_a_part_that_is_compiled_is_refused_and_can_be_had_without():
    model = dense()
    model[0] = torch.compile(model[0], backend="aot_eager")
    with pytest.raises(GradientError, match=r"compiled by torch\.compile.*force_eager"):
        written(model, *batch())
    with torch.compiler.set_stance("force_eager"):
        assert_exact(model, *batch())


def test_data_parallel_networks_are_measured_by_their_inside():
    model = dense()
    assert unwrapped(DataParallel(torch.compile(model, backend="eager"))) is model
    assert_exact(DataParallel(model), *batch())


@pytest.mark.parametrize("wrap", [lambda model: torch.compile(model, backend="eager"), DataParallel])
def test_statistics_of_wrapped_networks_have_the_names_of_their_inside(wrap):
    batches = [batch()] * 4
    assert list(measure_coherence(wrap(dense()), batches, LOSS).layers) == ["0", "2"]
    assert list(impute_coherence(wrap(dense()), batches, LOSS).layers) == ["0", "2"]


@pytest.fixture
def one_process(tmp_path: Path):
    """A process group of one."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_networks_are_measured_and_observed():
    model, twin = dense(), dense()
    wrapped, wrapped_twin = DistributedDataParallel(model), DistributedDataParallel(twin)
    assert_exact(wrapped, *batch())
    inputs, targets = batch()
    for _ in range(3):  # its bookkeeping would complain at the next step
        PerExampleBackward(wrapped, LOSS).observing(inputs, targets, ignore)
        LOSS(wrapped_twin(inputs), targets).mean().backward()
    for own, others in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(own.grad, others.grad)


# Precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(GradientError, match=r"parameter 0\.weight is torch\.(b?float16).*float32"):
        PerExampleBackward(dense().to(dtype), LOSS)


def test_autocast_is_refused_outside_and_inside_the_network():
    engine = PerExampleBackward(dense(), LOSS)
    with torch.autocast("cpu"), pytest.raises(GradientError, match=r"torch\.autocast is on for cpu"):
        engine(*batch(), ignore)

    def run(self: Calling, inputs: Tensor) -> Tensor:
        with torch.autocast("cpu"):
            return self.inner(inputs).float()

    with pytest.raises(GradientError, match=r"is torch\.bfloat16.*outside torch\.autocast"):
        written(calling(run, inner=linear(8, 3))(), *batch())


# Checkpointing and sparse gradients


def checkpointed(*, use_reentrant: bool) -> nn.Module:
    def run(self: Calling, inputs: Tensor) -> Tensor:
        return self.head(checkpoint(self.inner, self.first(inputs), use_reentrant=use_reentrant))

    torch.manual_seed(0)
    return calling(
        run,
        first=linear(8, 8),
        inner=lambda: nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)),
        head=linear(4, 3),
    )()


def test_reentrant_checkpointing_hides_parameters_and_is_refused():
    with pytest.raises(GradientError, match="use_reentrant=True"):
        written(checkpointed(use_reentrant=True), *batch())


@pytest.mark.parametrize("way", ["__call__", "observing"])
def test_the_other_checkpointing_is_refused_before_anything_is_done(way):
    model = checkpointed(use_reentrant=False)
    with pytest.raises(GradientError, match=r"activation checkpointing hides.*turn it off"):
        getattr(PerExampleBackward(model, LOSS), way)(*batch(), ignore)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_saved_tensors_that_are_packed_are_measured():
    with torch.autograd.graph.saved_tensors_hooks(lambda value: value.numpy(force=True), torch.from_numpy):
        assert_exact(dense(), *batch())


def test_sparse_gradients_of_embeddings():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(20, 3))
    inputs, targets = torch.randint(9, (6, 5)), torch.arange(6) % 3
    found = written(model, inputs, targets)
    dense_twin = copy.deepcopy(model)
    dense_twin[0].sparse = False
    for name, rows in looped_gradients(dense_twin, inputs, targets, LOSS).items():
        assert (found[name] - rows).norm() <= 1e-5 * rows.norm()  # rounding of float32
    twin = copy.deepcopy(model)
    PerExampleBackward(model, LOSS).observing(inputs, targets, ignore)
    LOSS(twin(inputs), targets).mean().backward()
    assert model[0].weight.grad.is_sparse
    assert torch.equal(model[0].weight.grad.to_dense(), twin[0].weight.grad.to_dense())


# Networks that couple the examples of a batch


def functional_batch_norm(self: Calling, inputs: Tensor) -> Tensor:
    return self.inner(functional.batch_norm(inputs, None, None, self.scale, self.shift, training=True))


COUPLING: dict[str, Callable[[Calling, Tensor], Tensor]] = {
    "batch norm at the bottom": functional_batch_norm,
    "batch norm": lambda self, x: functional.batch_norm(self.inner(x), None, None, training=True),
    "mean subtracted": lambda self, x: self.inner(x) - self.inner(x).mean(0),
    "mean subtracted, detached": lambda self, x: self.inner(x) - self.inner(x).mean(0).detach(),
    "mean of inputs": lambda self, x: self.inner(x - x.mean(0)),
    "softmax over examples": lambda self, x: self.inner(x).softmax(dim=0),
    "attention between examples": lambda self, x: (x @ x.t()).softmax(dim=1) @ self.inner(x),
    "neighbours": lambda self, x: self.inner(x) + self.inner(x).roll(1, 0),
    "weight made from examples": lambda self, x: self.inner(x) * self.inner(x).square().sum(0),
}


@pytest.mark.parametrize("run", COUPLING.values(), ids=COUPLING.keys())
@pytest.mark.parametrize("size", [2, 3, 8])
def test_coupled_examples_are_refused(run, size):
    torch.manual_seed(0)
    model = calling(run, inner=linear(8, 3), scale=values(8), shift=values(8))()
    with pytest.raises(GradientError, match="no per-example gradients"):
        written(model, *batch(size))


def test_gradients_scaled_by_the_frequency_in_the_batch_are_refused():
    model = nn.Sequential(nn.Embedding(9, 4, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(20, 3))
    with pytest.raises(GradientError, match="scale_grad_by_freq"):
        written(model, torch.randint(9, (6, 5)), torch.arange(6) % 3)


def test_other_operations_for_other_sizes_are_refused():
    model = calling(
        lambda self, x: self.inner(x).sin() if len(x) > 3 else self.inner(x), inner=linear(8, 3)
    )()
    with pytest.raises(GradientError, match="other operations on 2 examples"):
        written(model, *batch(5))


def test_a_loss_without_trainable_parameters_in_it_is_refused():
    model = calling(lambda self, x: self.inner(x).detach(), inner=linear(8, 3))()
    with pytest.raises(GradientError, match="does not depend on any parameter"):
        written(model, *batch())


# How examples lie when most gradients are zero


@pytest.mark.parametrize("read", [0, 1, 2, 3])
def test_a_single_token_is_read_out_with_the_batch_first_or_second(read):
    first = calling(lambda self, x: self.head(self.inner(x)[:, read]), inner=linear(6, 5), head=linear(5, 3))
    second = calling(
        lambda self, x: self.head(self.inner(x.transpose(0, 1))[read]), inner=linear(6, 5), head=linear(5, 3)
    )
    for make in (first, second):
        torch.manual_seed(0)
        assert_exact(make(), *tokens())


def test_examples_without_a_gradient_teach_nothing_about_the_layout():
    """A hinge loss that is zero for the first four examples, in a network with the batch second."""
    torch.manual_seed(0)
    model = calling(
        lambda self, x: self.head(self.inner(x.transpose(0, 1))[1]), inner=linear(6, 5), head=linear(5, 3)
    )()

    def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.where(targets == 0, 0, outputs.square().sum(dim=1))

    inputs, _ = tokens()
    targets = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    assert_exact(model, inputs, targets, hinge)
    engine = PerExampleBackward(model, hinge)
    found: dict[str, Tensor] = {}
    for these in (torch.zeros_like(targets), targets):  # a first batch that shows nothing at all
        engine(inputs, these, lambda name, factor: found.update({name: factor.written_out()}))
    for name, rows in looped_gradients(model, inputs, targets, hinge).items():
        assert (found[name] - rows).norm() <= 1e-5 * rows.norm()  # rounding of float32


def test_a_batch_of_one_is_plain_autograd():
    for model, (inputs, targets) in ((dense(), batch(1)), (dense(), batch(5))):
        assert_exact(model, inputs[:1], targets[:1])
