"""CG's toy examples once more, from their words: scalars, loops and dual numbers, on floats or on fractions.

Shares no formula with the code: there a network is six coefficients and their Jacobian, written down by hand,
here each derivative is carried along with its value.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

Number = float | Fraction

REAL = [
    ((1, 0, 0, 0, 0, 1), 1),
    ((0, -1, 0, 0, 0, -1), -1),
    ((0, 0, -1, 0, 0, -1), -1),
    ((0, 0, 0, 1, 0, 1), 1),
    ((0, 0, 0, 0, -1, -1), -1),
]
RANDOM = [
    ((1, 0, 0, 0, 0, 0), 1),
    ((0, -1, 0, 0, 0, 0), -1),
    ((0, 0, -1, 0, 0, 0), -1),
    ((0, 0, 0, 1, 0, 0), 1),
    ((0, 0, 0, 0, -1, 0), -1),
]


@dataclass(frozen=True)
class Dual:
    """A value and its derivatives by every weight that counts."""

    value: Number
    slopes: dict[int, Number]

    def __add__(self, other: Self) -> Self:
        slopes = dict(self.slopes)
        for weight, slope in other.slopes.items():
            slopes[weight] = slopes.get(weight, 0) + slope
        return type(self)(self.value + other.value, slopes)

    def __mul__(self, other: Self | int) -> Self:
        if isinstance(other, int):
            return type(self)(self.value * other, {w: slope * other for w, slope in self.slopes.items()})
        left = type(self)(0, {weight: slope * other.value for weight, slope in self.slopes.items()})
        right = type(self)(0, {weight: slope * self.value for weight, slope in other.slopes.items()})
        return type(self)(self.value * other.value, (left + right).slopes)


Network = Callable[[Sequence[Dual], Sequence[int]], Dual]


def linear(w: Sequence[Dual], x: Sequence[int]) -> Dual:
    """Example 1: y = w . x."""
    return total(w[j] * x[j] for j in range(6))


def deep(weights: Sequence[Dual], x: Sequence[int]) -> Dual:
    """Example 7: y = sum of w_j (u_j x_j); the weights are u1 .. u6, w1 .. w6."""
    u, w = weights[:6], weights[6:]
    return total(w[j] * (u[j] * x[j]) for j in range(6))


def two_neurons(weights: Sequence[Dual], x: Sequence[int]) -> Dual:
    """Example 8: y = w1 h1 + w2 h2; the bad neuron h1 sees x1 .. x5, the good one x1 .. x6."""
    u, v, (w1, w2) = weights[:5], weights[5:11], weights[11:]
    bad = total(u[j] * x[j] for j in range(5))
    good = total(v[j] * x[j] for j in range(6))
    return w1 * bad + w2 * good


def total(terms: Iterator[Dual]) -> Dual:
    result = Dual(0, {})
    for term in terms:
        result = result + term
    return result


def gradients(network: Network, weights: Sequence[Number], data: list) -> list[list[Number]]:
    """Of ½ (y - f(x))² of each of the four training examples: a list for each example."""
    duals = [Dual(weight, {place: 1}) for place, weight in enumerate(weights)]
    rows = []
    for x, y in data[:4]:
        output = network(duals, x)
        rows.append([(output.value - y) * output.slopes.get(place, 0) for place in range(len(weights))])
    return rows


def losses(network: Network, weights: Sequence[Number], data: list) -> list[Number]:
    """Of all five examples."""
    duals = [Dual(weight, {}) for weight in weights]
    return [(y - network(duals, x).value) ** 2 / 2 for x, y in data]


def m_coherence(rows: list[list[Number]]) -> Number:
    """Sum of g_i . g_k over all pairs (i, k), over the sum of those with i = k."""
    products = [[sum(a * b for a, b in zip(g, h, strict=True)) for h in rows] for g in rows]
    return sum(map(sum, products)) / sum(products[i][i] for i in range(len(rows)))


def mean(rows: list[list[Number]], step: int) -> list[Number]:
    return [sum(column) / 4 for column in zip(*rows, strict=True)]


def median(rows: list[list[Number]], step: int) -> list[Number]:
    """Of any number of rows."""
    found = []
    for column in zip(*rows, strict=True):
        ordered = sorted(column)
        half, odd = divmod(len(ordered), 2)
        found.append(ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2)
    return found


def descend(
    network: Network, weights: Sequence[Number], data: list, steps: int, aggregate: Callable = mean
) -> Iterator[tuple[list[Number], list[list[Number]]]]:
    """Weights and gradients at steps 0 to `steps`; learning rate .1."""
    rate = Fraction(1, 10) if isinstance(weights[0], Fraction) else 0.1
    weights = list(weights)
    for step in range(steps + 1):
        rows = gradients(network, weights, data)
        yield weights, rows
        weights = [w - rate * g for w, g in zip(weights, aggregate(rows, step), strict=True)]
