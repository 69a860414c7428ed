"""Every layer the engine claims to know, against a loop over single examples."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients.engine import Factor, PerExampleBackward
from pipeline.gradients.engine.factors import squared_norms
from tests.oracles.loops import looped_gradients
from tests.unit.engine_cases import CASES, Case

EXAMPLES = 5
LINEAR = ("rows", "columns", "totals", "totals with norms", "moments, mean")  # in the gradients


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Threads for matrices this small only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.flatten(1) + 0.5 * targets[:, None]).square().mean(dim=1)


def made(case: Case, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    """The network of a case, and a batch for it."""
    torch.manual_seed(0)
    model = case.make().to(dtype)
    shape = (EXAMPLES, *case.shape)
    inputs = torch.randint(case.tokens, shape) if case.tokens else torch.randn(shape, dtype=dtype)
    return model, inputs, torch.randn(EXAMPLES, dtype=dtype)


def factors_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[dict[str, Factor], dict[str, str]]:
    """The factors, taken a second time: the first batch teaches the engine, the second uses it."""
    engine = PerExampleBackward(model, loss)
    engine(inputs, targets, lambda name, factor: None)
    found: dict[str, Factor] = {}
    engine(inputs, targets, lambda name, factor: found.setdefault(name, factor))
    return found, engine.fallbacks


def statistics_of(factor: Factor) -> dict[str, Tensor]:
    """All that a factor can be asked for."""
    parts = [slice(0, 2), slice(2, EXAMPLES)]
    norms, totals = factor.norms_and_totals(parts)
    moments = factor.moments()
    vector = torch.linspace(-1, 1, factor.numel, dtype=factor.dtype).view(factor.shape)
    return {
        "rows": factor.written_out(),
        "columns": torch.cat([block for _, block in factor.blocks(EXAMPLES * factor.numel // 3)], dim=1),
        "squared norms": factor.squared_norms(),
        "squared norms with totals": norms,
        "totals": torch.stack(factor.totals(parts)),
        "totals with norms": torch.stack(totals),
        "moments, mean": moments.mean,
        "moments, squares": moments.squares,
        "dots": factor.dots(vector),
        "gram": factor.gram(),
    }


def statistics_of_rows(rows: Tensor) -> dict[str, Tensor]:
    """The same, from gradients `(b, *p)` written out, by their definitions."""
    flat = rows.reshape(EXAMPLES, -1)
    norms = flat.square().sum(dim=1)
    totals = torch.stack([rows[:2].sum(dim=0), rows[2:].sum(dim=0)])
    vector = torch.linspace(-1, 1, flat.shape[1], dtype=rows.dtype)
    return {
        "rows": rows,
        "columns": flat,
        "squared norms": norms,
        "squared norms with totals": norms,
        "totals": totals,
        "totals with norms": totals,
        "moments, mean": rows.mean(dim=0),
        "moments, squares": (rows - rows.mean(dim=0)).square().sum(dim=0),
        "dots": flat @ vector,
        "gram": flat @ flat.T,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_statistic_of_every_parameter_is_that_of_the_loop(case):
    model, inputs, targets = made(case, torch.float64)
    found, fallbacks = factors_of(model, inputs, targets)
    rows_of = looped_gradients(model, inputs, targets, loss)
    assert set(found) == set(rows_of)
    assert set(fallbacks.values()) == case.fallbacks
    for name, rows in rows_of.items():
        assert_statistics(name, found[name], rows)
        assert_signs(name, found[name], rows)


def assert_statistics(name: str, factor: Factor, rows: Tensor) -> None:
    its, size = statistics_of(factor), float(rows.norm())
    for what, wanted in statistics_of_rows(rows).items():
        # Rounding of float64, relative to what the terms of the statistic could sum up to.
        scale = {"dots": size * factor.numel**0.5}.get(what, size if what in LINEAR else size**2)
        assert its[what].shape == wanted.shape, (name, what)
        assert (its[what] - wanted).norm() <= 1e-12 * scale, (name, what)


def assert_signs(name: str, factor: Factor, rows: Tensor) -> None:
    positive, negative = factor.signs()
    # Where a value is a rounding error, so is its sign.
    clear = (rows.abs() > 1e-12 * rows.norm()).all(dim=0) | (rows == 0).all(dim=0)
    assert torch.equal(positive[clear], (rows > 0).sum(dim=0)[clear]), name
    assert torch.equal(negative[clear], (rows < 0).sum(dim=0)[clear]), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_norms_and_totals_in_float32(case):
    model, inputs, targets = made(case, torch.float32)
    found, _ = factors_of(model, inputs, targets)
    looped = looped_gradients(model, inputs, targets, loss)
    exact = looped_gradients(
        copy.deepcopy(model).double(), inputs if case.tokens else inputs.double(), targets.double(), loss
    )
    norms = sum(factor.squared_norms() for factor in found.values())
    total = {name: factor.totals([slice(None)])[0] for name, factor in found.items()}
    wanted_norms, wanted_total = norms_and_total(exact)
    loop_norms, loop_total = norms_and_total(looped)
    # Some networks, as those with spectral norm, lose digits of their own: autograd alone is as far off.
    far = (loop_norms - wanted_norms).norm() / wanted_norms.norm()
    assert (norms - wanted_norms).norm() <= max(1e-6, 2 * far) * wanted_norms.norm()
    size = wanted_norms.sum().sqrt()
    far = max(float((loop_total[name] - wanted_total[name]).norm() / size) for name in total)
    for name, value in total.items():
        assert (value - wanted_total[name]).norm() <= max(1e-6, 2 * far) * size, name


def norms_and_total(rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """||g_i||^2 over all parameters, and sum g_i of each, in float64."""
    norms = sum(value.double().reshape(EXAMPLES, -1).square().sum(dim=1) for value in rows.values())
    return norms, {name: value.double().sum(dim=0) for name, value in rows.items()}


@st.composite
def convolutions(draw) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution of any kind, and the shape of an input that is large enough for it."""
    dims = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    kernel, stride, dilation, padding = (
        draw(st.tuples(*[st.integers(low, high)] * dims)) for low, high in ((1, 3), (1, 3), (1, 2), (0, 2))
    )
    size = [
        max(1, dilated * (k - 1) + 1) + draw(st.integers(0, 3))
        for k, dilated in zip(kernel, dilation, strict=True)
    ]
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    options["bias"] = draw(st.booleans())
    if transposed:
        each = zip(stride, dilation, strict=True)
        options["output_padding"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in each)
        out = [
            (n - 1) * s - 2 * p + d * (k - 1) + o + 1
            for n, s, p, d, k, o in zip(
                size, stride, padding, dilation, kernel, options["output_padding"], strict=True
            )
        ]
        assume(min(out) > 0)
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    layer = kinds[dims - 1](4, 4 * draw(st.integers(1, 2)), kernel, **options)
    return layer.double(), (4, *size)


@settings(max_examples=60, deadline=None)  # compiled code that is loaded at its first use has no deadline
@given(convolutions(), st.integers(0, 2**16))
def test_convolutions_of_any_kind(convolution, seed):
    layer, shape = convolution
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(EXAMPLES, *shape, dtype=torch.float64, generator=generator)
    targets = torch.randn(EXAMPLES, dtype=torch.float64, generator=generator)
    found, fallbacks = factors_of(layer, inputs, targets)
    assert not fallbacks
    for name, rows in looped_gradients(layer, inputs, targets, loss).items():
        assert_statistics(name, found[name], rows)


@pytest.mark.parametrize("length", [0, 1, 4096, 4097, 10**6])
def test_squared_norms_keep_their_digits_however_long_the_rows(length):
    rows = torch.randn(2, length, generator=torch.Generator().manual_seed(0)) + 1
    wanted = rows.double().square().sum(dim=1)
    # A sum in sequence is 1e-4 off for the longest.
    torch.testing.assert_close(squared_norms(rows), wanted, rtol=3e-7, atol=0)
