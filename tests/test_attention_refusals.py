"""``manifold_attention``: what is refused, and with which words."""

import math
from typing import Any

import geoopt
import pytest
import torch
from attention_distance_cases import random_points

from geowarp import GeowarpError, UnavailableError
from geowarp.manifolds import AffineInvariantSPD, BirkhoffPolytope, Euclidean, Lorentz, Sphere
from geowarp.nn import (
    Blockwise,
    Centroid,
    ChordalSquaredDistance,
    Fused,
    Reference,
    manifold_attention,
)

Q, V = torch.eye(3), torch.ones(3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q": 2 * Q}, r"q\[0\] is not on the manifold"),
        ({"k": Q * math.nan}, r"k\[0\] is infinite or not a number"),
        ({"q": geoopt.ManifoldTensor(Q, manifold=Euclidean(1))}, r"q is on Euclidean\(1\)"),
        ({"k": geoopt.ManifoldTensor(Q, manifold=Euclidean(1))}, r"k is on Euclidean\(1\)"),
        ({"k": torch.eye(2)}, r"shape \(3,\) and k \(2,\)"),
        ({"k": Q.double()}, "torch.float32 and k torch.float64"),
        ({"q": Q[0]}, r"q has the shape \(3,\); it needs"),
        ({"q": Q.long()}, "torch.int64"),
        ({"manifold": Sphere}, "must be an instance"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"tau": -1}, "tau is -1"),
        ({"tau": math.nan}, "tau is nan"),
        ({"tau": math.inf}, "tau is inf"),
        ({"tau": torch.tensor([1.0, -2.0])}, "tau is -2.0"),
        ({"tau": 1e-40}, "1/τ"),
        ({"tau": torch.ones(2), "q": Q.expand(3, 3, 3)}, "do not broadcast"),
        ({"mask": torch.ones(3, 3)}, "the mask has the dtype torch.float32"),
        ({"bias": torch.ones(3, 3) > 0}, "the bias has the dtype torch.bool"),
        ({"mask": torch.ones(3, 4) > 0}, r"the mask has the shape \(3, 4\)"),
        ({"mask": torch.ones(3) > 0}, r"the mask has the shape \(3,\)"),
        ({"bias": torch.ones(2, 3)}, r"the bias has the shape \(2, 3\)"),
        ({"v": V[:2]}, r"v has the shape \(2, 2\); 3 keys need \(..., 3, d\)"),
        ({"v": V[:, 0]}, r"v has the shape \(3,\)"),
        ({"v": V.long()}, "v has the dtype torch.int64"),
        ({"v": V.expand(2, 3, 2), "q": Q.expand(3, 3, 3)}, "do not broadcast"),
        ({"v": None}, "v has the kind NoneType"),
        ({"v": 2 * Q, "aggregation": Centroid()}, r"v\[0\] is not on the manifold"),
        ({"v": Q[:2], "aggregation": Centroid()}, r"3 keys need \(..., 3, \*point\) for Centroid"),
        ({"k": Q.expand(2, 3, 3), "q": Q.expand(3, 3, 3)}, "do not broadcast"),
        ({"score": "distance"}, "'distance' is no Score"),
        ({"score_dtype": torch.int64}, "score_dtype = torch.int64"),
        ({"method": Fused()}, r"SquaredDistance\(\) on Sphere\(\) is no inner product"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"q": Q, "k": Q, "v": V, "manifold": Sphere(), **options}
    with pytest.raises(GeowarpError, match=message):
        manifold_attention(**arguments)


def test_what_is_unavailable() -> None:
    x = torch.eye(2).expand(3, 2, 2)
    for method in (None, Fused(), Reference(), Blockwise()):
        with pytest.raises(UnavailableError, match=r"chord|inner product"):
            manifold_attention(x, x, V, AffineInvariantSPD(), score=ChordalSquaredDistance(), method=method)
    with pytest.raises(UnavailableError, match="BirkhoffPolytope"):
        manifold_attention(torch.full_like(x, 0.5), torch.full_like(x, 0.5), V, BirkhoffPolytope())
    with pytest.raises(GeowarpError, match="pairs = 0"):
        Blockwise(pairs=0)
    for manifold, shape in ((Lorentz(), (3,)), (Sphere(), (3,))):
        q = random_points(manifold, shape, 4).requires_grad_()
        out = manifold_attention(q, q, q.detach(), manifold, method=Blockwise())
        (gradient,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
        with pytest.raises(UnavailableError, match="only once"):
            gradient.sum().backward()
