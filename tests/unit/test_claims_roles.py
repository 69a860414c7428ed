"""What params may say about the items of a claim beside each other, and the message when they may not."""

import pytest

from pipeline.claims import LEDGER, validate_claims, validate_comparisons
from pipeline.config import Params
from pipeline.errors import InputError
from tests.made_up_claims import PARAMS
from tests.made_up_runs import params


def check(study: Params) -> None:
    """As the stages do before any work."""
    validate_claims(study.claims)
    validate_comparisons(study)


def test_the_made_up_claims_are_valid():
    check(params(PARAMS))


def unfit(old: str, new: str) -> str:
    """The message for the made-up params with one piece of text replaced."""
    assert PARAMS.count(old) == 1
    with pytest.raises(InputError) as caught:
        check(params(PARAMS.replace(old, new)))
    return str(caught.value).removeprefix("params.yaml, claims.")


C3 = "{labels0: c-labels0, labels50: c-labels50, labels100: c-labels100}"
C5 = "{easy: easy, hard: hard, random: random, all: all}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # What is named in a role is of the kind that the role takes.
        (
            "CG-6: {split: halves}",
            "CG-6: {split: easy}",
            "CG-6.split: 'easy' is a run; this role needs a split",
        ),
        (
            C5,
            C5.replace("easy: easy", "easy: halves"),
            "CG-5.easy: 'halves' is a split; this role needs a run, for example one on its examples "
            "(variant: halves.easy)",
        ),
        (
            C3,
            C3.replace("labels0: c-labels0", "labels0: half"),
            "CG-3.labels0: run 'half' stands alone; this role needs one that varies. Add runs.half.vary",
        ),
        ("CG-7: {run: half}", "CG-7: {run: rates}", "CG-7.run: run 'rates' varies, and stands for several"),
        # Roles.
        (C3, "{labels0: c-labels0}", "CG-3.labels50: is missing. CG-3 compares labels0 with labels50 with"),
        (
            C3,
            C3.replace("labels0:", "lables0:"),
            "CG-3.lables0: 'lables0' is unknown. Did you mean 'labels0'?",
        ),
        (
            "CG-6: {split: halves}",
            "CG-6: {}",
            "CG-6.split: is missing. CG-6 is read off one item: name the split",
        ),
        ("CG-7: {run: half}", "CG-7: {}", "CG-7.run: is missing. CG-7 is read off one item: name the run."),
        (
            "{mlp-real: mlp-real, mlp-noise: mlp-noise, vgg-real: vgg-real}",
            "{}",
            "CG-8: is empty. CG-8 takes any number of measured runs, each by a name of its own: {NAME: RUN}.",
        ),
        (
            "{mlp-real: mlp-real, mlp-noise: mlp-noise, vgg-real: vgg-real}",
            "{one: mlp-real, two: mlp-real}",
            "CG-8: names 'mlp-real' for one and two; each role needs a run of its own.",
        ),
        # Data.
        (
            C3,
            C3.replace(
                "labels50: c-labels50, labels100: c-labels100", "labels50: c-labels100, labels100: c-labels50"
            ),
            "CG-3.labels50: run 'c-labels100' trains on 'labels100' with noise_labels 1; this role needs "
            "0.5.",
        ),
        (
            C5,
            C5.replace("easy: easy, hard: hard", "easy: hard, hard: easy"),
            "CG-5.easy: run 'hard' trains on 'halves.hard'; this role needs the easy examples of a split, as "
            "variant SPLIT.easy. There are halves.easy.",
        ),
        (
            "half: {variant: labels50",
            "half: {variant: real",
            "CG-7.run: run 'half' trains on 'real', whose labels are all pristine",
        ),
        # Measures.
        (
            "  half: {subsets: [pristine, corrupt]}\n",
            "",
            "CG-7.run: run 'half' is not measured. Add measures.half.",
        ),
        (
            "half: {subsets: [pristine, corrupt]}",
            "half: {subsets: [pristine]}",
            "CG-7.run: M is read on the pristine and the corrupt examples apart. Add corrupt to "
            "measures.half.subsets.",
        ),
        (
            "  random: {subsets: [easy, hard]}",
            "  random: {subsets: [easy, hard], splits: [train]}",
            "CG-5.random: M is read on test examples. Add 'test' to measures.random.splits.",
        ),
        ("  vgg-real: {}\n", "", "CG-8.vgg-real: run 'vgg-real' is not measured."),
        (", fits: {examples: 30, lr: 0.1}", "", "CG-6.split: split 'halves' fits no single examples. Add"),
        # Points.
        (
            "c2: {winsorize_percent: 2}",
            "c2: {winsorize_percent: 8}",
            "CG-3.labels0: two points of run 'c-labels0' have winsorize_percent 8. Give each its own.",
        ),
        (
            "c2: {winsorize_percent: 2}",
            "c2: {aggregation: mean}",
            "CG-3.labels0: point 'c2' of run 'c-labels0' has aggregation 'mean'. This claim is about "
            "winsorized",
        ),
        (
            "c-labels100: {<<: *c, variant: labels100}",
            "c-labels100: {<<: *c, variant: labels100, vary: {a: {winsorize_percent: 1}, b: "
            "{winsorize_percent: 4}}}",
            "CG-3: winsorize_percent goes from 0 to 8 in run 'c-labels0' and from 1 to 4 in 'c-labels100'.",
        ),
        (
            "      m3-4: {aggregation: m3, batch_size: 12, lr: 0.08}\n",
            "",
            "CG-9.sizes: run 'sizes' has 1 points of a mean and 0 of a median with micro-batches of 4",
        ),
        ("lr-8: {lr: 0.08}", "lr-8: {lr: 0.02}", "CG-9.rates: two points of run 'rates' have lr 0.02."),
        (
            "lr-8: {lr: 0.08}",
            "lr-8: {aggregation: a3}",
            "CG-9.rates: point 'lr-8' of run 'rates' has aggregation",
        ),
        (
            "vary: {lr-2: {lr: 0.02}, lr-8: {lr: 0.08}, lr-32: {lr: 0.32}, lr-128: {lr: 1.28}}",
            "vary: {lr-2: {lr: 0.02}}",
            "CG-9.rates: run 'rates' has one point; a comparison over lr needs at least two.",
        ),
    ],
)
def test_an_item_that_does_not_fit(old, new, message):
    assert unfit(old, new).startswith(message)


def test_views_of_two_splits():
    text = PARAMS.replace("variant: halves.hard", "variant: others.hard").replace(
        "splits:\n", "splits:\n  others: {run: scorer, train_examples: 500, test_examples: 200}\n"
    )
    study = params(text)
    with pytest.raises(
        InputError, match=r"CG-5: easy is on split 'halves' and hard on 'others'\. Name runs on"
    ):
        validate_comparisons(study)


def test_a_split_may_not_have_the_name_of_a_run():
    with pytest.raises(InputError, match=r"splits\.easy: is the name of a run as well, and claims name both"):
        params(
            PARAMS.replace(
                "  halves: {", "  easy: {run: scorer, train_examples: 5, test_examples: 5}\n  halves: {"
            )
        )


def test_the_needs_of_the_ledger_are_of_roles_that_it_has():
    for claim in LEDGER.values():
        if claim.built:
            assert set(claim.built.own_needs) <= {*claim.built.roles, *claim.built.optional}
