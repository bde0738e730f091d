"""The gyrovector spaces of the tests: how each is made, and the shape of its points."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    Euclidean,
    Grassmann,
    GyrovectorSpace,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
)


@dataclass(frozen=True)
class GyroCase:
    """A space, made anew at every call, and the shape of its points."""

    make: Callable[[], GyrovectorSpace]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.make()!r}-{'x'.join(map(str, self.shape))}"

    def points(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return random points whose sums of four are closer to E than its cut locus."""
        space = self.make()
        points = space.random(*batch, *self.shape, dtype=dtype).detach().as_subclass(Tensor)
        return space.gyro_scale(0.25, points)

    def identity(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self.make().identity_element(*batch, *self.shape, dtype=dtype)


GYRO_CASES = [
    GyroCase(AffineInvariantSPD, (3, 3)),
    GyroCase(LogEuclideanSPD, (3, 3)),
    GyroCase(LogCholeskySPD, (3, 3)),
    GyroCase(Grassmann, (6, 2)),
    GyroCase(Grassmann, (3, 2)),
    GyroCase(lambda: SPSD(2), (5, 2)),
    GyroCase(lambda: SPSD(2, spd=LogCholeskySPD(), weight=0.5), (4, 2)),
    GyroCase(lambda: PoincareBall(0.7), (3,)),
    GyroCase(lambda: Lorentz(2.0), (4,)),
    GyroCase(lambda: Euclidean(2), (2, 3)),
]


def same_points(space: GyrovectorSpace, x: Tensor) -> Tensor:
    """Return what is equal for representations of one point: ``x xᵀ`` of bases and factors."""
    return x @ x.mT if isinstance(space, Grassmann | SPSD) else x
