"""Every score that ranks labels by suspicion, from the same networks, and how well each ranks."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.studies.label_errors.scores import disagreement, log_odds
from pipeline.studies.label_errors.study import Inspection

Floats = NDArray[np.float64]
OURS = "inspect-labels"
PACKAGE = "cleanlab"


@dataclass(frozen=True)
class Quality:
    """How well a score finds the wrong labels."""

    average_precision: float
    precision: float  # at the true number of wrong labels: the share of wrong ones among as many first


def quality(suspicion: Floats, is_wrong: NDArray[np.bool_]) -> Quality:
    """Of a ranking by `suspicion (n,)`, the most suspicious first; ties in the examples' order."""
    from sklearn.metrics import average_precision_score

    first = np.argsort(-suspicion, kind="stable")[: is_wrong.sum()]
    average = float(average_precision_score(is_wrong, suspicion))
    return Quality(average, float(is_wrong[first].mean()))


def own_scores(inspection: Inspection) -> dict[str, Floats]:
    """Scores that need no other package, by name."""
    evidence, labels = inspection.first, inspection.labels
    alike = np.ones_like(inspection.rounds[0].exchanges)
    return {
        OURS: inspection.suspicion,
        "its first round alone": inspection.rounds[0].log_odds,
        "its second round alone": inspection.rounds[1].log_odds,
        "its first round, all exchanges alike": log_odds(evidence.log_probabilities, labels, alike),
        "helpfulness, held out": -evidence.helpfulness,
        "helpfulness of each label, held out": disagreement(evidence.agreement, labels),
        "mean loss (small-loss)": evidence.loss,
        "mean loss, held out": evidence.held_out_loss,
        "final loss": evidence.final_loss,
        "mean margin": -evidence.margin,
        "mean margin, held out": -evidence.held_out_margin,
        "forgetting events": evidence.forgetting,
    }


def cleanlab_scores(inspection: Inspection) -> dict[str, Floats]:
    """Confident learning (Northcutt et al. 2021) by its authors' package, by name; none where it is absent.

    Each on three predictions of the first round, averaged over training: by the networks that saw the
    example, by the one that did not, and both.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return {}
    labels, evidence = inspection.labels, inspection.first
    predictions = {
        "seen": evidence.seen,
        "held out": evidence.held_out,
        "both": evidence.seen + evidence.held_out,
    }
    found: dict[str, Floats] = {}
    for name, raw in predictions.items():
        probabilities = raw / raw.sum(1, keepdims=True)
        for method in ("self_confidence", "normalized_margin"):
            title = f"cleanlab {method.replace('_', ' ')}, {name}"
            found[title] = -get_label_quality_scores(labels, probabilities, method=method)
        found[f"cleanlab normalized margin, adjusted, {name}"] = -get_label_quality_scores(
            labels, probabilities, method="normalized_margin", adjust_pred_probs=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes in which it finds too few to keep
            is_issue = find_label_issues(labels, probabilities, n_jobs=1)
        # Its issues first, each part by its default score.
        margins = found[f"cleanlab normalized margin, {name}"]
        found[f"cleanlab issues, {name}"] = margins + 2.0 * is_issue
    return found


def is_installed() -> bool:
    """Whether cleanlab can be imported."""
    from importlib.util import find_spec

    return find_spec(PACKAGE) is not None


SCORES: tuple[Callable[[Inspection], dict[str, Floats]], ...] = (own_scores, cleanlab_scores)


def qualities(inspection: Inspection, is_wrong: NDArray[np.bool_]) -> dict[str, Quality]:
    """The quality of every score, by its name."""
    scores = {name: values for make in SCORES for name, values in make(inspection).items()}
    return {name: quality(values, is_wrong) for name, values in scores.items()}
