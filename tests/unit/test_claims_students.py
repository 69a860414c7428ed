"""L-1 to L-4 and L-7 read off made-up tables: what holds, what does not, and what is missing."""

from pathlib import Path

import pytest

from pipeline.claims import LEDGER
from pipeline.claims.claim import UnreadableError
from pipeline.claims.judge import judge
from pipeline.claims.reading import StudyRecord
from pipeline.claims.student_courses import Courses, deviation_without, same_winners
from pipeline.config import TeacherStudent, TrainedTeacher
from pipeline.studies.tables import write_rows
from pipeline.studies.teacher_student.tables import (
    COURSE,
    LOSSES,
    WINNERS,
    CourseRow,
    LossRow,
    WinnerRow,
)

EPOCHS, LAYERS, SEEDS = (0, 1, 4), (1, 2), 3
COMMON = {"lr": 0.1, "batch_size": 10, "epochs": 4, "evaluate": (1,), "seeds": SEEDS}
NORM = {"batch_norm": "after_relu"}
LUCKY = {
    "winners": {"lucky": {"point": "plain", "winners": "initial", "others": "redrawn"}},
    "others": {"lucky": {"point": "plain", "winners": "redrawn", "others": "initial"}},
}


def drawn(vary: dict, **more) -> TeacherStudent:
    return TeacherStudent.model_validate({**COMMON, "widths": (3, 4), "vary": vary, **more})


def record(folder: Path, spec, ends: dict[str, float], **more) -> StudyRecord:
    """An item whose rho-bar goes from .3 (.2 in layer 2) to `ends[point]`, half of the way after epoch 1.

    `rank`: of the winners at the start; `wobble`: what a point's end differs by from seed to seed;
    `accuracy`: of students by point; `same`: share of nodes that win again, by point.
    """
    rank, wobble = more.get("rank", 0.1), more.get("wobble", {})
    accuracy, same = more.get("accuracy", {}), more.get("same", {})
    course, losses, winners = [], [], []
    for point, end in ends.items():
        for seed in range(SEEDS):
            for epoch in EPOCHS:
                share = {0: 0.0, 1: 0.5, 4: 1.0}[epoch]
                for layer in LAYERS:
                    first, last = 0.4 - 0.1 * layer, end + seed * wobble.get(point, 0.0) - 0.06 * (layer - 1)
                    rho = first + share * (last - first)
                    course.append(
                        CourseRow(
                            point,
                            seed,
                            epoch,
                            10 * epoch,
                            layer,
                            3,
                            1,
                            30,
                            2,
                            rho,
                            rho,
                            rank,
                            rank,
                            1,
                            1,
                            99,
                            0.1,
                        )
                    )
                losses.append(
                    LossRow(
                        point,
                        seed,
                        epoch,
                        10 * epoch,
                        0.5,
                        0.5,
                        accuracy.get(point, 0.0) * (0.5 + share),
                        0.6,
                    )
                )
            for node in range(10):
                winner = node if node < 10 * same.get(point, 1.0) else 20 + node
                winners.append(WinnerRow(point, seed, 1, node, node == 9, winner, 0.9, 0.3, 3, 2))
                # Above the first layer none wins again: the weights there tell of other nodes.
                above = node if "lucky" not in (spec.vary.get(point) or {}) else 20 + node
                winners.append(WinnerRow(point, seed, 2, node, False, above, 0.9, 0.3, 3, 2))
    for name, kind, rows in (
        (COURSE, CourseRow, course),
        (LOSSES, LossRow, losses),
        (WINNERS, WinnerRow, winners),
    ):
        write_rows(folder / name, kind, rows)
    return StudyRecord("teacher_student", folder, "item", spec)


def verdicts(name: str, **items: StudyRecord) -> list[str]:
    """What the checks of a claim come to, in their order."""
    return [check.verdict for check in judge(LEDGER[name], items).checks]


@pytest.mark.parametrize(
    ("end", "rank", "expected"),
    [
        (0.95, 0.1, ["holds"] * 5),
        (0.84, 0.1, ["holds", "fails", "holds", "holds", "holds"]),
        (0.5, 0.1, ["fails", "fails", "holds", "holds", "holds"]),
        (0.95, 0.5, ["holds", "holds", "fails", "fails", "holds"]),
    ],
)
def test_l1_wants_gain_a_high_first_layer_and_early_leaders(tmp_path, end, rank, expected):
    students = record(tmp_path, drawn({}), {"": end}, rank=rank)
    assert verdicts("L-1", students=students) == expected


def test_l2_wants_batch_norm_to_help(tmp_path):
    spec = drawn({"plain": {}, "normal": NORM}, convolutional=True, dimension=9)
    good = record(tmp_path / "a", spec, {"plain": 0.5, "normal": 0.8})
    bad = record(tmp_path / "b", spec, {"plain": 0.8, "normal": 0.8})
    assert verdicts("L-2", students=good) == ["holds", "holds"]
    assert verdicts("L-2", students=bad) == ["holds", "fails"]


def test_l3_compares_students_with_their_teacher(tmp_path):
    spec = TrainedTeacher.model_validate(
        {
            **COMMON,
            "variant": "v",
            "weights": "data/runs/r/seed-0/final.pt",
            "vary": {"plain": {}, "normal": NORM},
        }
    )
    ends = {"plain": 0.5, "normal": 0.6}
    good = record(tmp_path / "a", spec, ends, accuracy={"plain": 0.35, "normal": 0.45})
    bad = record(tmp_path / "b", spec, ends, accuracy={"plain": 0.35, "normal": 0.3})
    assert verdicts("L-3", dense=good, convolutional=good) == ["holds"] * 6
    assert verdicts("L-3", dense=good, convolutional=bad) == [*["holds"] * 3, "fails", "fails", "holds"]


def test_l4_wants_wider_students_higher_and_steadier(tmp_path):
    spec = drawn({"wide": {"factor": 10}, "narrow": {"factor": 1}})
    ends = {"wide": 0.8, "narrow": 0.5}
    good = record(tmp_path / "a", spec, ends, wobble={"wide": 0.01, "narrow": 0.05})
    bad = record(tmp_path / "b", spec, ends, wobble={"wide": 0.05, "narrow": 0.01})
    assert verdicts("L-4", students=good) == ["holds", "holds"]
    assert verdicts("L-4", students=bad) == ["holds", "fails"]


def test_l7_reads_each_ablation_off_its_item(tmp_path):
    both = {"plain": {}, "normal": NORM}
    small_spec = drawn({**both, **LUCKY})
    ends = {"plain": 0.9, "normal": 0.8, "winners": 0.9, "others": 0.8}
    small = record(tmp_path / "small", small_spec, ends, same={"winners": 0.8, "others": 0.2})
    large = record(tmp_path / "large", drawn(both), {"plain": 0.5, "normal": 0.7})
    finite = record(tmp_path / "f", drawn({"new": {}, "kept": {"examples": 50}}), {"new": 0.8, "kept": 0.6})
    assert verdicts("L-7", small=small, large=large, finite=finite) == ["holds"] * 6
    assert verdicts("L-7", small=small, large=small, finite=finite)[2] == "fails"
    fewer = record(tmp_path / "fewer", drawn(both, seeds=2), {"plain": 0.5, "normal": 0.7})
    assert verdicts("L-7", small=small, large=fewer, finite=finite) == ["holds"] * 6
    stalled = record(tmp_path / "g", finite.spec, {"new": 0.8, "kept": 0.8})
    slow = {**ends, "winners": 0.7}
    unlucky = record(tmp_path / "h", small_spec, slow, same={"winners": 0.2, "others": 0.2})
    assert verdicts("L-7", small=unlucky, large=large, finite=stalled)[3:] == ["fails"] * 3


def test_a_dead_teacher_node_has_no_winner(tmp_path):
    spec = drawn({"plain": {}, **LUCKY})
    found = record(tmp_path, spec, {"plain": 1, "winners": 1, "others": 1}, same={"winners": 0.9})
    assert same_winners(Courses(found), "winners") == (1.0,) * SEEDS  # the tenth node is dead


def test_the_average_over_training_is_the_area_under_the_curve(tmp_path):
    found = Courses(record(tmp_path, drawn({}), {"": 0.9}))
    first, last = (0.3 + 0.2) / 2, (0.9 + 0.84) / 2
    middle = (first + last) / 2
    exact = ((first + middle) / 2 * 1 + (middle + last) / 2 * 3) / 4
    assert found.average("") == pytest.approx((exact,) * SEEDS)


def test_the_deviation_without_a_seed_is_that_of_the_others():
    assert deviation_without((1.0, 3.0, 7.0)) == pytest.approx((8**0.5, 18**0.5, 2**0.5))


def test_a_missing_point_says_what_to_run(tmp_path):
    found = record(tmp_path, drawn({"a": {}, "b": {}}), {"a": 0.9})
    with pytest.raises(UnreadableError, match="python -m pipeline teacher_student --item item"):
        Courses(found).values("b", 1, 4)
