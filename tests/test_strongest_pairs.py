"""The largest entries of a product against the product itself."""

import pytest
import torch
from torch import Tensor

from geowarp.nn.probes.strongest_pairs import strongest_pairs


@pytest.mark.parametrize("entries", [1, 7, 50, 10**6])
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_strongest_pairs_in_blocks(entries: int, k: int) -> None:
    a, b = torch.randn(4, 11).double(), torch.randn(4, 9).double()
    a[:, [2, 7]] = 0
    b[:, 0] = 0
    product = a.mT @ b
    values, i, j = strongest_pairs(a, b, k, entries)
    expected = product[product > 0].sort(descending=True).values[:k]
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(product[i, j], values, rtol=1e-12, atol=1e-12)
    assert len({*zip(i.tolist(), j.tolist(), strict=True)}) == len(expected)


def test_strongest_pairs_of_columns_of_many_lengths() -> None:
    for _ in range(20):
        a, b = (torch.randn(6, 40) * torch.randn(40).mul(2).exp() for _ in range(2))
        values, i, j = strongest_pairs(a, b, 10, entries=80)
        torch.testing.assert_close(values, (a.mT @ b).flatten().topk(10).values, rtol=1e-5, atol=0)
        torch.testing.assert_close((a.mT @ b)[i, j], values, rtol=1e-5, atol=0)


@pytest.mark.parametrize("a", [torch.zeros(3, 4), -torch.ones(3, 4), torch.zeros(0, 4)])
def test_no_strongest_pairs(a: Tensor) -> None:
    values, i, j = strongest_pairs(a, torch.ones(len(a), 2), 3)
    assert len(values) == len(i) == len(j) == 0
