"""Theorem 5's matrix dynamics against loops over examples and nodes, and autograd where they agree."""

import numpy as np
import pytest
import torch

from pipeline.errors import Interrupted
from pipeline.studies.matrix_dynamics import dynamics, study
from pipeline.studies.matrix_dynamics.start import HIDDEN, INPUTS, draw, inputs

CLOSENESS = ((1.0, 1.0), (0.3, 1.0))


def case(seed: int = 0, positive: bool = False) -> list[torch.Tensor]:
    """x (2, 7, 4), W* (2, 4, 3), V* (2, 3, 5), W (2, 4, 6), V (2, 6, 5)."""
    rng = np.random.default_rng(seed)
    shapes = ((7, 4), (4, 3), (3, 5), (4, 6), (6, 5))
    drawn = [torch.from_numpy(rng.standard_normal((2, *shape))) for shape in shapes]
    return [each.abs() for each in drawn] if positive else drawn


def gradient(x, teacher_w, teacher_v, w, v) -> tuple[torch.Tensor, torch.Tensor]:
    """Minus that of the students' mean ½‖f* - f‖², of all of them at once."""
    w, v = w.clone().requires_grad_(), v.clone().requires_grad_()
    outputs, targets = (x @ w).relu() @ v, (x @ teacher_w).relu() @ teacher_v
    loss = (targets - outputs).square().sum() / 2 / x.shape[1]
    return tuple(-each for each in torch.autograd.grad(loss, [w, v]))


def test_the_change_of_v_is_the_gradient():
    parts = case()
    torch.testing.assert_close(dynamics.changes(*parts)[1], gradient(*parts)[1], rtol=1e-12, atol=1e-12)


def test_the_change_of_w_is_the_gradient_where_every_gate_is_open_and_only_there():
    opened, mixed = case(positive=True), case()
    torch.testing.assert_close(dynamics.changes(*opened)[0], gradient(*opened)[0], rtol=1e-11, atol=1e-11)
    assert (dynamics.changes(*mixed)[0] - gradient(*mixed)[0]).abs().max() > 0.1


def test_the_change_of_w_takes_expectations_apart():
    parts = [each[0].numpy() for each in case()]
    x, teacher_w, teacher_v, w, v = parts
    expected = np.zeros_like(w)
    second = sum(np.outer(one, one) for one in x) / len(x)
    for j in range(w.shape[1]):
        pull = np.zeros(len(w))
        for sign, others, above in ((1, teacher_w, teacher_v), (-1, w, v)):
            for k in range(others.shape[1]):
                together = np.mean([float(one @ w[:, j] > 0 and one @ others[:, k] > 0) for one in x])
                pull += sign * together * float(np.dot(above[k], v[j])) * others[:, k]
        expected[:, j] = second @ pull
    np.testing.assert_allclose(dynamics.changes(*case())[0][0], expected, atol=1e-12)


def test_columns_keep_length_1():
    w, v = dynamics.step(*case(), lr=0.3)
    for matrix in (w, v):
        torch.testing.assert_close(matrix.square().sum(dim=1), torch.ones_like(matrix[:, 0]))


def test_students_start_as_near_as_they_should():
    start = draw(5, 0, 200, 2, ((1.0, 1.0), (1.0, 0.0), (0.3, 1.0)))
    cosines = (start.w[:, :, :HIDDEN] * start.teacher_w).sum(dim=1).reshape(3, -1).mean(dim=1)
    # Of w* + noise with w*: 1 / sqrt 2, and .3 / sqrt 1.09; the noise is orthogonal on average only.
    np.testing.assert_allclose(cosines, [0.5**0.5, 0.5**0.5, 0.3 / 1.09**0.5], atol=0.02)
    squares = start.v.square().sum(dim=2).reshape(3, 200, -1).mean(dim=1)
    assert squares[1, :HIDDEN].mean() == pytest.approx(0.75, abs=0.03)  # 30 columns of length 1 over 40 rows
    # A column of V* has length 1 in the u-set; half of the noise's 1 lies in either set.
    assert squares[0, :HIDDEN].sum() == pytest.approx(30 * 0.75, rel=0.03)
    torch.testing.assert_close(start.v.square().sum(dim=1), torch.ones(600, 30))


def test_inputs_end_with_the_constant():
    drawn = inputs(0, 1, 0, 50, 64)
    assert drawn.shape == (50, 64, INPUTS + 1)
    assert (drawn[..., -1] == 1).all()
    assert abs(drawn[..., :-1].std() - 1) < 0.02


def part(first: int, seeds: int, **other) -> study.Part:
    how = {"closeness": CLOSENESS, "steps": 60, "lr": 0.1, "batch_size": 16, "points": 3, **other}
    return study.Part(root_seed=0, factor=2, first=first, seeds=seeds, **how)


def test_a_seed_goes_its_way_whoever_runs_beside_it():
    together = [row for row in study.follow(part(0, 3)) if row.seed == 2]
    alone = study.follow(part(2, 1))
    assert [(row.p_w, row.step) for row in alone] == [
        (p_w, step) for p_w in (1.0, 0.3) for step in (0, 20, 40, 60)
    ]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.lucky == pytest.approx(theirs.lucky, abs=1e-4)  # float32 sums in another order
        assert ours.to_teacher == pytest.approx(theirs.to_teacher, abs=1e-4)


def test_parts_cover_every_seed_once():
    found = study.parts(0, (2, 5), 19, CLOSENESS, steps=1, lr=0.1, batch_size=2, points=1)
    for factor in (2, 5):
        seeds = [each.first + place for each in found if each.factor == factor for place in range(each.seeds)]
        assert seeds == list(range(19))


def test_a_part_that_is_told_to_stop_stops():
    with pytest.raises(Interrupted, match="at step 50 of 60"):
        study.follow(part(0, 1), stop=lambda step: step == 50)
