"""Broadcast shapes are torch's."""

from itertools import product

import pytest
import torch

from geowarp.manifolds.linalg.broadcasting import broadcast_shapes

SHAPES = [(), (1,), (3,), (0,), (2, 1), (1, 3), (2, 3), (4, 1, 1), (1, 0), (2, 2)]


def test_shapes_broadcast_as_in_torch() -> None:
    refused = 0
    for shapes in product(SHAPES, repeat=3):
        try:
            expected = torch.broadcast_shapes(*shapes)
        except RuntimeError:
            refused += 1
            with pytest.raises(RuntimeError, match="do not broadcast"):
                broadcast_shapes(*shapes)
        else:
            assert broadcast_shapes(*shapes) == expected
    assert 100 < refused < 900
    assert broadcast_shapes() == torch.Size()
