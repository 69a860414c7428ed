"""Correlations of every teacher node with every student node, layer by layer, from a stream."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Tensor

from models.teacher_student import Networks, rows_of


@dataclass(frozen=True)
class LayerMatch:
    """Correlations of one layer, for each network side by side, on the CPU."""

    correlations: Tensor  # (s, teacher nodes, student nodes); 0 where either node is dead
    live_teacher: Tensor  # (s, teacher nodes) bool
    live_student: Tensor  # (s, student nodes) bool
    samples: int

    @property
    def floor(self) -> float:
        """About what the greatest correlation with a teacher node comes to if all are by chance."""
        return sqrt(2 * log(max(2, self.correlations.shape[2])) / self.samples)


class Moments:
    """Means, variances and covariances of teacher and student activations that come in chunks.

    Sums are of deviations from the first chunk's means, kept in float64: so that nothing cancels.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, teacher: Tensor, student: Tensor) -> None:
        """Take in `(s, n, teacher nodes)` and `(s, n, student nodes)` of the same n samples."""
        if self.samples == 0:
            self._shifts = teacher.mean(1, keepdim=True), student.mean(1, keepdim=True)
            self._least = [each.amin(1) for each in (teacher, student)]
            self._most = [each.amax(1) for each in (teacher, student)]
        for place, each in enumerate((teacher, student)):
            self._least[place] = torch.minimum(self._least[place], each.amin(1))
            self._most[place] = torch.maximum(self._most[place], each.amax(1))
        t, u = teacher - self._shifts[0], student - self._shifts[1]
        chunk = {
            "t": t.sum(1),
            "u": u.sum(1),
            "tt": t.square().sum(1),
            "uu": u.square().sum(1),
            "tu": torch.bmm(t.transpose(1, 2), u),
        }
        for name, value in chunk.items():
            self._sums[name] = self._sums.get(name, 0) + value.double()
        self.samples += teacher.shape[1]

    def result(self) -> LayerMatch:
        """The correlations so far. A node is dead when all its activations are one number."""
        n, sums = self.samples, self._sums
        variance = {name: sums[2 * name] / n - (sums[name] / n).square() for name in ("t", "u")}
        means = (sums["t"] / n)[:, :, None] * (sums["u"] / n)[:, None]
        scale = (variance["t"][:, :, None] * variance["u"][:, None]).clamp(min=0).sqrt()
        live = [most > least for most, least in zip(self._most, self._least, strict=True)]
        both = live[0][:, :, None] & live[1][:, None]
        found = torch.where(both, (sums["tu"] / n - means) / scale, 0.0)
        return LayerMatch(found.float().cpu(), live[0].cpu(), live[1].cpu(), n)


def compare(teachers: Networks, students: Networks, chunks: Iterable[Tensor], of: Tensor) -> list[LayerMatch]:
    """Every hidden layer of the students with that of their teachers, in evaluation mode.

    `chunks` are inputs `(teachers' count, n, ...)`; `of (students' count,)` says which teacher is whose.
    """
    moments = [Moments() for _ in teachers.plan.hidden]
    with torch.no_grad():
        for inputs in chunks:
            shown, _ = teachers(inputs)
            seen, _ = students(inputs[of])
            for layer, (t, u) in enumerate(zip(shown, seen, strict=True)):
                moments[layer].add(rows_of(t, teachers.count)[of], rows_of(u, students.count))
    return [each.result() for each in moments]
