"""The search for wrong labels on a small set whose wrong ones are known; its gradients against autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from models import build
from pipeline.errors import InputError, Interrupted
from pipeline.gradients import total_gradient
from pipeline.studies.label_errors import watching
from pipeline.studies.label_errors.agreement import label_agreement, label_loss, logit_changes
from pipeline.studies.label_errors.watching import WatchTask, watch
from tests.unit.label_sets import PLAN, NoReport, blobs, inspected

RIGHT = np.arange(160) % 4
WRONG = np.arange(160) % 16 == 3  # ten of them


@pytest.fixture(scope="module")
def spoilt():
    """Images of four classes, some with the label of the next one."""
    return replace(blobs(RIGHT), labels=np.where(WRONG, (RIGHT + 1) % 4, RIGHT))


@pytest.fixture(scope="module")
def found(spoilt):
    """What was found out about them."""
    return inspected(spoilt)


def first(scores):
    """As many of the most suspicious examples as there are wrong labels."""
    return set(np.argsort(-scores, kind="stable")[: WRONG.sum()].tolist())


def test_planted_labels_are_the_most_suspicious_and_no_other_is_doubted(found):
    assert first(found.suspicion) == set(np.flatnonzero(WRONG).tolist())
    assert not found.doubted[~WRONG].any()
    assert found.doubted[WRONG].sum() >= 5  # it wants confidence: fewer are doubted than come first
    np.testing.assert_array_equal(found.other[WRONG], RIGHT[WRONG])
    np.testing.assert_array_equal(found.predicted, RIGHT)
    assert found.trusted[~WRONG].all()
    assert 0 < found.suspicion.min() <= found.suspicion.max() < 1


def test_the_others_would_give_the_right_label(found):
    assert (found.first.agreement.argmax(1) == RIGHT).mean() > 0.8  # four classes: chance is 0.25


def test_scores_that_are_shuffled_find_nothing(found):
    shuffled = np.random.default_rng(0).permutation(found.suspicion)
    # Hypergeometric, ten of 160 drawn ten times: mean 0.6; four or more have a chance of 0.2 %.
    assert len(first(shuffled) & set(np.flatnonzero(WRONG).tolist())) < 4


def test_the_same_seed_gives_the_same_and_another_one_not(spoilt):
    few, plan = spoilt.at(np.arange(48)), replace(PLAN, epochs=2)
    first, again, other = (inspected(few, plan, root_seed) for root_seed in (0, 0, 1))
    np.testing.assert_array_equal(again.suspicion, first.suspicion)
    np.testing.assert_array_equal(again.first.helpfulness, first.first.helpfulness)
    assert (other.suspicion != first.suspicion).any()


def test_a_class_that_lost_all_trust_is_still_learned():
    # No right example of the last class is left: three of the first have its label.
    labels = np.where(RIGHT == 3, 0, RIGHT)
    labels[np.flatnonzero(RIGHT == 0)[:3]] = 3
    found = inspected(replace(blobs(RIGHT), labels=labels), replace(PLAN, epochs=3))
    assert set(labels[found.trusted].tolist()) == {0, 1, 2, 3}


def test_means_over_epochs_are_those_of_the_networks_own_logits(spoilt):
    """The same training again, its logits kept, its means by loops in float64."""
    task = WatchTask(spoilt, replace(PLAN, epochs=4), np.arange(0, 160, 2), 0, 7, "cpu", False)
    watched = watch(task, NoReport())
    short = [watch(replace(task, plan=replace(PLAN, epochs=epochs)), NoReport()) for epochs in range(1, 5)]
    final = np.stack([one.final_loss for one in short])  # after 1, 2, .. epochs of the very same run
    np.testing.assert_allclose(watched.loss, final.mean(0), rtol=1e-12)
    hits = np.stack([one.margin * number for number, one in enumerate(short, start=1)])
    hits = np.diff(hits, axis=0, prepend=0) > 0  # margins after each epoch, out of their running means
    for example in range(160):
        events = sum(hits[e, example] and not hits[e + 1, example] for e in range(3))
        expected = events if hits[:, example].any() else 4
        assert watched.forgetting[example] == expected
    own = watched.probabilities[np.arange(160), spoilt.labels]
    # exp(-loss) of each epoch, averaged; float32 sums of four numbers.
    np.testing.assert_allclose(own, np.exp(-final).mean(0), rtol=1e-5)


def test_logit_changes_are_products_with_the_gradient_of_each_logit():
    torch.manual_seed(0)
    model = build("cnn", {"widths": (3,), "dense": (5,)}, (1, 4, 4), 3).double()
    inputs = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    parameters = dict(model.named_parameters())
    direction = {name: torch.randn_like(parameter) for name, parameter in parameters.items()}
    found = logit_changes(model, inputs, direction)
    for row, logits in enumerate(model(inputs)):
        for label, logit in enumerate(logits):
            gradient = torch.autograd.grad(logit, list(parameters.values()), retain_graph=True)
            slow = -sum(
                float((g * direction[name]).sum()) for g, name in zip(gradient, parameters, strict=True)
            )
            assert float(found[row, label]) == pytest.approx(slow, rel=1e-10, abs=1e-12)


def test_agreement_is_centred_and_of_unit_size_and_asks_every_label():
    torch.manual_seed(0)
    model = build("mlp", {"widths": (6,)}, (1, 4, 4), 3)
    batch = (torch.randn(9, 1, 4, 4), torch.arange(9) % 3)
    found = label_agreement(model, [batch], [batch])
    torch.testing.assert_close(found.sum(1), torch.zeros(9, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float(found.square().mean()) == pytest.approx(1)
    direction = total_gradient(model, [batch], label_loss)
    changes = logit_changes(model, batch[0], direction).double()
    changes -= changes.mean(1, keepdim=True)
    torch.testing.assert_close(found, changes / changes.square().mean().sqrt())


def test_the_label_loss_never_saturates():
    logits = torch.tensor([[9.0, -9.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(label_loss(logits, torch.tensor([0])).sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[1 / 3 - 1, 1 / 3, 1 / 3]]))
    (saturated,) = torch.autograd.grad(functional.cross_entropy(logits, torch.tensor([0])), logits)
    assert saturated.abs().max() < 1e-3


def test_a_network_that_diverges_begins_anew_with_smaller_steps(spoilt):
    heard = []

    class Heard(NoReport):
        def __call__(self, message):
            heard.append(message)

    def task(lr):
        return WatchTask(spoilt, replace(PLAN, lr=lr), np.arange(160), 0, 0, "cpu", False)

    high = 16 * PLAN.lr * 1e30
    with pytest.raises(
        InputError, match=r"the loss stops being finite, also at a learning rate of 5e[+]28. Use"
    ):
        watch(task(high), Heard())
    assert [message.lr for message in heard] == [high / 4, high / 16]
    # Half of the images at a rate that diverges once.
    found = watch(task(0.2 * 4), Heard())
    assert np.isfinite(found.loss).all()


def test_a_network_stops_when_it_is_asked_to(spoilt):
    report = NoReport()
    report.stop_requested = True
    with pytest.raises(Interrupted, match="in epoch 1 of 6"):
        watch(WatchTask(spoilt, PLAN, np.arange(160), 0, 0, "cpu", False), report)


def test_batch_norm_is_measured_in_evaluation_mode(spoilt):
    plan = replace(PLAN, model="resnet", options={"widths": (4,), "blocks": (1,)}, epochs=2, folds=2)
    found = inspected(spoilt.at(np.arange(40)), plan)
    assert np.isfinite(found.first.helpfulness).all()
    assert np.isfinite(found.first.agreement).all()


def test_only_the_first_round_measures_helpfulness(found):
    assert np.isfinite(found.first.helpfulness).all()
    assert np.isnan(found.second.helpfulness).all()


def test_helpfulness_is_that_of_the_engine_towards_the_examples_trained_on(spoilt, monkeypatch):
    """One snapshot, its network kept: g_i . S / ||S||^2 by a loop over examples."""
    kept = []
    plan = replace(PLAN, epochs=1)
    build_one = watching.build
    monkeypatch.setattr(watching, "build", lambda *some: kept.append(build_one(*some)) or kept[-1])
    task = WatchTask(spoilt, plan, np.arange(0, 160, 2), 0, 0, "cpu", True)
    found = watch(task, NoReport()).helpfulness
    assert np.isnan(found[::2]).all()
    model = kept[0].double()
    (batch,) = spoilt.batches(np.arange(160), 160)

    def gradient(positions):
        losses = functional.cross_entropy(
            model(batch.inputs[positions].double()), batch.labels[positions], reduction="sum"
        )
        return torch.cat([part.flatten() for part in torch.autograd.grad(losses, list(model.parameters()))])

    total = gradient(np.arange(0, 160, 2))
    slow = [float(gradient([i]) @ total / total.square().sum()) for i in range(1, 160, 2)]
    # float32 weights and gradients against float64: a few 1e-7 of the terms, which cancel in part.
    np.testing.assert_allclose(found[1::2], slow, rtol=1e-3, atol=1e-6)
