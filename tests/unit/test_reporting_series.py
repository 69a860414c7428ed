"""Lines of seeds and their median, before anything is drawn."""

import numpy as np

from pipeline.claims.reading import CoherenceRow
from pipeline.reporting.series import coherence_lines


def row(seed: int, step: int, value: float, loss: float = 1.0) -> CoherenceRow:
    where = (seed, step, step / 10, loss, "train", "all", "all")
    return CoherenceRow(*where, value, 0.1, True, 20.0, 500, 20, "imputed", "train")


def test_the_median_is_taken_where_all_seeds_are_and_between_their_snapshots():
    rows = [
        row(0, 10, 1.0),
        row(0, 30, 3.0),
        row(1, 10, 5.0),
        row(1, 20, 5.0),
        row(2, 10, 0.0),
        row(2, 20, 0.0),
    ]
    lines = coherence_lines(rows, "epoch")
    np.testing.assert_array_equal(lines.middle[0], [1.0, 2.0])  # seeds 1 and 2 end at epoch 2
    np.testing.assert_array_equal(lines.middle[1], [1.0, 2.0])  # seed 0 is half-way from 1 to 3 there


def test_step_0_and_undefined_values_are_in_no_line():
    lines = coherence_lines([row(0, 0, 99.0), row(0, 10, 2.0), row(0, 20, float("nan"))], "epoch")
    np.testing.assert_array_equal(lines.seeds[0][1], [2.0])
    assert coherence_lines([row(0, 0, 99.0)], "epoch") is None


def test_over_loss_the_line_runs_by_loss_and_not_by_step():
    lines = coherence_lines([row(0, 10, 1.0, loss=0.5), row(0, 20, 2.0, loss=0.9)], "loss")
    np.testing.assert_array_equal(lines.seeds[0], ([0.5, 0.9], [1.0, 2.0]))
