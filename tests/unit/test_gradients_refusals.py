"""What measurements refuse, in which words, and that they leave a network as it was."""

import copy

import pytest
import torch
from torch import nn

from pipeline.gradients import (
    GradientError,
    NotFiniteError,
    batch_norm_layers,
    impute_coherence,
    impute_coherence_over,
    measure_coherence,
    stochastic_layers,
)
from pipeline.gradients.layers import parameters_by_layer

LOSS = nn.CrossEntropyLoss(reduction="none")


def batches(count: int = 5, size: int = 4):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(size, 1, 6, 6, generator=generator), torch.arange(size) % 3) for _ in range(count)]


def normed(**options) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, **options), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def test_batch_norm_is_refused_with_both_ways_out():
    with pytest.raises(GradientError) as error:
        measure_coherence(normed(), batches(), LOSS)
    assert "layers 1 are batch norm" in str(error.value)
    assert "impute_coherence" in str(error.value)
    assert "batch_norm='eval'" in str(error.value)


def test_batch_norm_in_evaluation_mode_is_measured_with_its_running_statistics():
    model = normed()
    model(batches()[0][0])  # running statistics that are not the initial ones
    frozen = copy.deepcopy(model)
    norm = frozen[1]
    # The same function without batch norm: a fixed scale and shift for each channel, put into the weights of
    # the convolution, so that only the gradient at the last layer is comparable.
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        frozen[0].bias.copy_((frozen[0].bias - norm.running_mean) * scale + norm.bias)
        frozen[0].weight.mul_(scale[:, None, None, None])
    frozen[1] = nn.Identity()
    found = measure_coherence(model.train(), batches(), LOSS, batch_norm="eval").layers["4"]
    expected = measure_coherence(frozen, batches(), LOSS).layers["4"]
    assert found.m_coherence == pytest.approx(expected.m_coherence, rel=1e-4)  # float32


def test_imputing_in_training_and_evaluation_mode_differs():
    train = impute_coherence(normed(), batches(), LOSS)
    evaluation = impute_coherence(normed(), batches(), LOSS, batch_norm="eval")
    assert train.m_coherence != pytest.approx(evaluation.m_coherence, rel=1e-3)


@pytest.mark.parametrize("measure", [measure_coherence, impute_coherence])
def test_dropout_is_refused_but_in_evaluation_mode(measure):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))
    with pytest.raises(GradientError, match="layers 1 drop units at random"):
        measure(model, batches(), LOSS)
    assert measure(model, batches(), LOSS, batch_norm="eval").m_coherence > 0
    model[1].p = 0.0
    assert measure(model, batches(), LOSS).m_coherence > 0


@pytest.mark.parametrize("measure", [measure_coherence, impute_coherence])
def test_an_averaged_loss_is_refused(measure):
    with pytest.raises(GradientError, match=r"one loss for each example.*found \(\)"):
        measure(plain(), batches(), nn.CrossEntropyLoss())


def test_no_example_is_refused():
    with pytest.raises(GradientError, match="batches is empty"):
        measure_coherence(plain(), [], LOSS)
    with pytest.raises(GradientError, match="a batch has no example"):
        measure_coherence(plain(), [(torch.zeros(0, 1, 6, 6), torch.zeros(0).long())], LOSS)
    with pytest.raises(GradientError, match="2 inputs and 3 targets"):
        measure_coherence(plain(), [(torch.zeros(2, 1, 6, 6), torch.zeros(3).long())], LOSS)


@pytest.mark.parametrize("measure", [measure_coherence, impute_coherence])
def test_a_gradient_that_is_not_finite_is_refused_by_layer(measure):
    model = plain()
    model[3].bias.data[1] = torch.nan
    with pytest.raises(NotFiniteError, match="layer 0: a gradient is not finite"):
        measure(model, batches(), LOSS)


@pytest.mark.parametrize("measure", [measure_coherence, impute_coherence])
def test_a_model_without_trainable_parameters_is_refused(measure):
    with pytest.raises(GradientError, match="no trainable parameter"):
        measure(plain().requires_grad_(False), batches(), LOSS)


def test_imputing_asks_for_enough_equal_batches():
    with pytest.raises(GradientError, match="needs 4 batches or more, found 3"):
        impute_coherence(plain(), batches(3), LOSS)
    with pytest.raises(GradientError, match="the first has 4 examples, number 6 has 2"):
        impute_coherence(plain(), [*batches(), *batches(1, 2)], LOSS)
    with pytest.raises(GradientError, match="use measure_coherence for single ones"):
        impute_coherence(plain(), batches(8, 1), LOSS)
    with pytest.raises(GradientError, match="the first has 4 batches of 4, another 5 of 4"):
        impute_coherence_over(plain(), [batches(4), batches(5)], LOSS)
    with pytest.raises(GradientError, match="no partition"):
        impute_coherence_over(plain(), [], LOSS)


def test_unknown_modes_are_refused():
    with pytest.raises(GradientError, match="'refuse' or 'eval', found 'train'"):
        measure_coherence(plain(), batches(), LOSS, batch_norm="train")
    with pytest.raises(GradientError, match="'train' or 'eval', found 'refuse'"):
        impute_coherence(plain(), batches(), LOSS, batch_norm="refuse")


class FailsLate(nn.Module):
    """Cross entropy of examples that fails at its third call."""

    def __init__(self, draws: bool = True):
        super().__init__()
        self.calls, self.draws = 0, draws

    def forward(self, output, target):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("the user's loss fails")
        if self.draws:
            torch.rand(1)  # from the global generator
        return LOSS(output, target)


@pytest.mark.parametrize("loss", [LOSS, FailsLate()])
def test_the_network_is_left_as_it_was(loss):
    model = normed().eval()
    model[0].train()  # modes differ by module
    model[0].bias.requires_grad_(False)
    model[4].weight.grad = torch.ones_like(model[4].weight)
    gradient = model[4].weight.grad
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    with torch.no_grad():
        try:
            impute_coherence(model, batches(), loss)
        except RuntimeError as error:
            assert "the user's loss fails" in str(error)  # noqa: PT017
            assert loss is not LOSS
    assert not model.training
    assert [module.training for module in model] == [True, False, False, False, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model[4].weight.grad is gradient
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert not model[0].bias.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)


def test_exact_measuring_leaves_the_network_as_it_was():
    model = plain().eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="the user's loss fails"):
        measure_coherence(model, batches(), FailsLate(draws=False))
    assert not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_walking_twice_gives_the_same_as_keeping():
    kept = impute_coherence(normed(), batches(), LOSS)
    assert impute_coherence(normed(), batches(), LOSS, memory=0) == kept
    assert impute_coherence(normed(), batches(), LOSS, memory=700) == kept  # room for some
    with pytest.raises(GradientError, match="a second walk over the batches gave 0 in place of 5"):
        impute_coherence(normed(), iter(batches()), LOSS, memory=0)


def test_layers_are_found_by_type():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.GroupNorm(1, 2), nn.SyncBatchNorm(2))
    assert batch_norm_layers(model) == ["1", "3"]
    dropouts = nn.Sequential(
        nn.Dropout(0.0), nn.Dropout(0.1), nn.AlphaDropout(0.2), nn.RReLU(), nn.GRU(2, 2, 2, dropout=0.5)
    )
    assert stochastic_layers(dropouts) == ["1", "2", "3", "4"]


def test_stochastic_depth_of_others_is_found_by_type():
    from timm.layers import DropPath
    from torchvision.ops import StochasticDepth

    rates = nn.Sequential(
        DropPath(0.1), DropPath(0.0), StochasticDepth(0.2, "row"), StochasticDepth(0.0, "row")
    )
    assert stochastic_layers(rates) == ["0", "2"]


class Tied(nn.Module):
    """An autoencoder with one weight for both directions, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.encode = nn.Linear(4, 4)
        self.decode = nn.Linear(4, 4)
        self.decode.weight = self.encode.weight
        self.decode.bias.requires_grad_(False)


def test_parameters_belong_to_one_layer():
    layers = parameters_by_layer(Tied())
    assert layers == {"Tied": ["scale"], "encode": ["encode.weight", "encode.bias"]}
