"""Float64 arithmetic on long vectors, across the edges of blocks."""

import numpy as np
import pytest
import torch

from pipeline.gradients.wide import BLOCK, dot_products, float64_home, squared_norm


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_products_are_those_of_float64(length, dtype):
    generator = torch.Generator().manual_seed(length)
    first, second = torch.randn(2, length, generator=generator, dtype=dtype)
    wide = first.double().numpy()
    # Sums of positive terms in float64: rounding 1e-16 for each.
    assert float(squared_norm(first)) == pytest.approx(np.square(wide).sum(), rel=1e-12)
    found = dot_products(first.double(), [first, second]).numpy()
    scale = max(1, length)
    np.testing.assert_allclose(
        found, [wide @ wide, wide @ second.double().numpy()], rtol=1e-12, atol=1e-14 * scale
    )


def test_squares_below_float32_are_kept():
    tiny = torch.full((10,), 1e-30)
    assert float(squared_norm(tiny)) == pytest.approx(1e-59, rel=1e-6)  # 1e-30 is not exact in float32
    assert float(tiny.dot(tiny)) == 0  # a control: in float32 nothing is left


def test_a_device_without_float64_sums_on_the_cpu():
    assert float64_home(torch.device("mps")) == torch.device("cpu")
    assert float64_home(torch.device("cuda", 1)) == torch.device("cuda", 1)
