"""The Mann-Whitney test: do two samples come from one distribution?"""

import math
from collections import Counter
from collections.abc import Sequence


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of the U statistic by its normal approximation, with ties and continuity corrected.

    NaN where a sample is empty; 1 where all values are the same.
    """
    n, m = len(first), len(second)
    if not n or not m:
        return math.nan
    counts = Counter([*first, *second])
    ranks, below = {}, 0
    for value in sorted(counts):
        ranks[value] = below + (counts[value] + 1) / 2  # tied values share their mean rank
        below += counts[value]
    u = sum(ranks[value] for value in first) - n * (n + 1) / 2
    total = n + m
    ties = sum(count**3 - count for count in counts.values())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if not variance:
        return 1.0
    z = (abs(u - n * m / 2) - 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(z / math.sqrt(2)))
