"""How far the examples agree on the sign of a parameter's gradient (p_same_sign).

Liu et al. 2020 (arXiv 2001.07384) plot it beside GSNR without a definition. Two readings are kept, both
over the gradients that are not zero: the larger of the shares of positive and negative ones, and the share
that has the sign of the mean. Under no signal the first is about 1/2 + 1/sqrt(2 pi n) for n gradients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, pi

import torch
from torch import Tensor


@dataclass(frozen=True)
class SignAgreement:
    """Means over the parameters of a group with a gradient that is not zero; NaN if there is none."""

    larger_share: float  # mean of max(share positive, share negative): p_same_sign
    share_with_mean: float  # mean share with the sign of the mean, where the mean is not 0
    null: float  # what larger_share would be by chance: mean of 1/2 + 1/sqrt(2 pi n_j)
    num_parameters: int  # single ones, that went in
    num_undefined: int  # without a gradient that is not zero: left out
    num_zeros: int  # gradients that are zero, over all parameters and examples: left out
    num_examples: int


@dataclass(frozen=True, eq=False)
class SignCounts:
    """Examples with a positive and with a negative gradient, int64, by parameter name and in its shape."""

    positive: Mapping[str, Tensor]
    negative: Mapping[str, Tensor]

    def agreement(self, names: Sequence[str], mean: Mapping[str, Tensor], num_examples: int) -> SignAgreement:
        """Over the parameters `names`, whose mean gradients decide which sign is the mean's."""
        positive, negative, centre = (
            torch.cat([values[name].flatten().cpu() for name in names])
            for values in (self.positive, self.negative, mean)
        )
        counted = positive + negative
        live = counted > 0
        larger = torch.maximum(positive, negative)[live] / counted[live].double()
        with_mean = torch.where(centre > 0, positive, negative) / counted.double()
        return SignAgreement(
            larger_share=_mean(larger),
            share_with_mean=_mean(with_mean[live & (centre != 0)]),
            null=_mean(0.5 + (2 * pi * counted[live].double()).rsqrt()),
            num_parameters=int(live.sum()),
            num_undefined=int((~live).sum()),
            num_zeros=len(counted) * num_examples - int(counted.sum()),
            num_examples=num_examples,
        )


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else nan
