"""Every layer the engine claims to know, against a loop over single examples."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.gradients.engine import Factor, PerExampleBackward
from tests.oracles.loops import looped_gradients
from tests.unit.engine_cases import CASES, Case

EXAMPLES = 5


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


def assert_close(found: Tensor, wanted: Tensor, relative: float, what: str) -> None:
    """The norm of the difference against that of what is wanted."""
    assert found.shape == wanted.shape, what
    assert (found - wanted).norm() <= relative * wanted.norm(), what


def statistics_of(factor: Factor) -> dict[str, Tensor]:
    """All that a factor can be asked for."""
    parts = [slice(0, 2), slice(2, EXAMPLES)]
    norms, totals = factor.norms_and_totals(parts)
    moments = factor.moments()
    vector = torch.linspace(-1, 1, factor.numel, dtype=factor.dtype).view(factor.shape)
    return {
        "rows": factor.written_out(),
        "columns": torch.cat([block for _, block in factor.blocks(1)], dim=1),
        "squared norms": factor.squared_norms(),
        "squared norms with totals": norms,
        "totals": torch.stack(factor.totals(parts)),
        "totals with norms": torch.stack(totals),
        "moments, total": moments.total,
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
        "moments, total": rows.sum(dim=0),
        "moments, squares": (rows - rows.mean(dim=0)).square().sum(dim=0),
        "dots": flat @ vector,
        "gram": flat @ flat.T,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_statistic_of_every_parameter_is_that_of_the_loop(case):
    model, inputs, targets = made(case, torch.float64)
    found, fallbacks = factors_of(model, inputs, targets)
    wanted = looped_gradients(model, inputs, targets, loss)
    assert list(found) != [] and set(found) == set(wanted)
    assert set(fallbacks.values()) == case.fallbacks
    for name, rows in wanted.items():
        size = rows.norm()
        for what, value in statistics_of_rows(rows).items():
            its = statistics_of(found[name])[what]
            # Rounding of float64, relative to the largest that the terms of each sum could give.
            scale = size if what in ("rows", "columns", "totals", "totals with norms", "moments, total") else size**2
            if what == "dots":
                scale = size * rows[0].numel() ** 0.5
            assert its.shape == value.shape, (name, what)
            assert (its - value).norm() <= 1e-12 * scale, (name, what)
        positive, negative = found[name].signs()
        # Only where no value is within rounding of zero has a sign a meaning.
        clear = (rows.abs() > 1e-13 * size).all(dim=0) | (rows == 0).all(dim=0)
        assert torch.equal(positive[clear], (rows > 0).sum(dim=0)[clear]), name
        assert torch.equal(negative[clear], (rows < 0).sum(dim=0)[clear]), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_norms_and_totals_in_float32(case):
    model, inputs, targets = made(case, torch.float32)
    found, _ = factors_of(model, inputs, targets)
    exact, doubles = made(case, torch.float64)[0], (inputs.double() if not case.tokens else inputs)
    exact.load_state_dict(model.state_dict())
    wanted = looped_gradients(exact, doubles, targets.double(), loss)
    whole = torch.cat([rows.reshape(EXAMPLES, -1) for rows in wanted.values()], dim=1)
    parts = [slice(0, EXAMPLES)]
    norms, totals = zip(*(factor.norms_and_totals(parts) for factor in found.values()), strict=True)
    total = torch.cat([found_total[0].flatten() for found_total in totals]).double()
    print(case.name, float((sum(norms) - whole.square().sum(1)).norm() / whole.square().sum(1).norm()), float((total - whole.sum(0)).norm() / whole.norm()))
