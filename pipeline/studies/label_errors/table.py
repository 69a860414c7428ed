"""`labels.csv`: one row an example, the most suspicious first."""

from dataclasses import dataclass

import numpy as np

from pipeline.studies.label_errors.scores import disagreement, ranks
from pipeline.studies.label_errors.study import Inspection
from pipeline.studies.label_errors.subject import Subject

FILE = "labels.csv"


@dataclass(frozen=True)
class LabelRow:
    """An example with its label and every score; docs/label-errors.md says what each means."""

    rank: int
    file: str
    index: int
    given: str
    predicted: str
    suspicion: float
    doubted: bool
    other: str  # the label that is right if the given one is not
    probability_given: float
    probability_other: float
    mean_loss: float
    held_out_loss: float
    final_loss: float
    mean_margin: float
    held_out_margin: float
    forgetting_events: float
    helpfulness: float
    helpful_label: str  # that the other examples would give it
    helpfulness_disagreement: float


def label_rows(subject: Subject, inspection: Inspection) -> list[LabelRow]:
    """The rows, by rank."""
    evidence, labels = inspection.first, inspection.labels
    probabilities, suspicion = inspection.probabilities, inspection.suspicion
    predicted, doubted, rank = inspection.predicted, inspection.doubted, ranks(suspicion)
    other = inspection.other
    helpful, unhelpful = evidence.agreement.argmax(1), disagreement(evidence.agreement, labels)
    return [
        LabelRow(
            rank=int(rank[row]),
            file=subject.files[row],
            index=int(subject.split.indices[row]),
            given=subject.classes[labels[row]],
            predicted=subject.classes[predicted[row]],
            suspicion=float(suspicion[row]),
            doubted=bool(doubted[row]),
            other=subject.classes[other[row]],
            probability_given=float(probabilities[row, labels[row]]),
            probability_other=float(probabilities[row, other[row]]),
            mean_loss=float(evidence.loss[row]),
            held_out_loss=float(evidence.held_out_loss[row]),
            final_loss=float(evidence.final_loss[row]),
            mean_margin=float(evidence.margin[row]),
            held_out_margin=float(evidence.held_out_margin[row]),
            forgetting_events=float(evidence.forgetting[row]),
            helpfulness=float(evidence.helpfulness[row]),
            helpful_label=subject.classes[helpful[row]],
            helpfulness_disagreement=float(unhelpful[row]),
        )
        for row in np.argsort(rank, kind="stable")
    ]
