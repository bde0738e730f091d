"""A conformally warped metric: a base manifold whose distances stretch alike in all directions."""

from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ..component import fingerprint
from ..linalg.dimensions import append_dimensions
from . import conformal_curvature
from .conformal_flow import conformal_flow
from .conformal_paths import ConformalPaths
from .frame import inner_product
from .geodesic_solution import WarpedGeodesic
from .graph_metric import gradients
from .over_base import OverBase
from .potential import Potential, check_values, identity

__all__ = ["ConformalWarped"]


class ConformalWarped(OverBase):
    """A base manifold with the metric ``e^{2φ} g`` of a function φ on it: lengths at x grow by ``e^{φ(x)}``.

    Angles, tangent spaces, the retraction and the transport are those of the base. Where φ is large, a region
    is far from everything and all through itself, while ``FairnessWarped`` stretches only along the gradients
    of its potentials. The Poincaré ball is ``φ = log(2 / (1 − ‖x‖²))`` over flat space.

    Distances and logarithms can be differentiated once, by points and parameters of φ.

    Args:
        base: a manifold of geowarp or of geoopt.
        phi: a function or module φ that maps ``(..., *point)`` to ``(...)``, each point by itself.
        segments: of the discrete geodesics, 4 times a power of 2: more are more accurate, and slower.

    Raises:
        GeowarpError: for a base that is no manifold, and from its operations for a φ that returns another
            shape or dtype.
        UnavailableError: as for ``FairnessWarped``.

    References:
        Besse, Einstein manifolds (1987), section 1.J; Arvanitidis, Georgiev, Schölkopf, A prior-based
        approximate latent Riemannian metric, AISTATS (2022), for such metrics in machine learning.

    Example:
        >>> from geowarp.manifolds import Euclidean, PoincareBall
        >>> disk = ConformalWarped(Euclidean(1), lambda x: (2 / (1 - x.square().sum(-1))).log())
        >>> x, y = torch.tensor([0.0, 0.5]), torch.tensor([0.5, 0.0])
        >>> disk.dist(x, y), PoincareBall().dist(x, y)
        (tensor(1.6807), tensor(1.6807))
    """

    name = "ConformalWarped"

    def __init__(self, base: geoopt.Manifold, phi: Potential, *, segments: int = 32) -> None:
        super().__init__(base, segments)
        if not callable(phi):
            raise GeowarpError(
                f"ConformalWarped: phi is {phi!r}; give a function of points (..., *point) that returns (...)"
            )
        self.phi = phi

    def constants(self) -> tuple[Any, ...]:
        """Return the base and φ."""
        return fingerprint(self.base), identity(self.phi), self.segments

    def __repr__(self) -> str:
        kind = getattr(self.phi, "__name__", type(self.phi).__name__)
        return f"ConformalWarped({self._base_expression()}, {kind})"

    def phi_values(self, x: Tensor) -> Tensor:
        """Return φ at points, ``(...)``, if it returns what it promises.

        Raises:
            GeowarpError: for another type, shape or dtype, with the one that it must have.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> ConformalWarped(Euclidean(1), lambda x: x.sum(-1)).phi_values(torch.ones(3, 2))
            tensor([2., 2., 2.])
        """
        return check_values("ConformalWarped", self.phi(x), x, self.ndim, 0)

    def phi_gradient(self, x: Tensor) -> Tensor:
        """Return the gradient of φ under the metric of the base, ``(..., *point)``.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> ConformalWarped(Euclidean(1), lambda x: x.square().sum(-1)).phi_gradient(torch.ones(2))
            tensor([2., 2.])
        """
        _, slope = gradients(self.base, self._column, x, create_graph=self.keeps_graph(x))
        return slope.squeeze(-self.ndim - 1)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``e^{2φ} ⟨u, v⟩_g``."""
        product = inner_product(self.base, x, u, u if v is None else v)
        return self._keep((2 * self.phi_values(x)).exp() * product, keepdim)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``e^{−2φ}`` times the gradient of the base."""
        gradient: Tensor = self.base.egrad2rgrad(x, u)
        return append_dimensions((-2 * self.phi_values(x)).exp(), self.ndim) * gradient

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the length of the geodesic, by ``solve_geodesic``."""
        return self._keep(self.solve_geodesic(x, y).distance, keepdim)

    def solve_geodesic(self, x: Tensor, y: Tensor) -> WarpedGeodesic:
        """Return the geodesics from x to y, ``(..., *point)``, found in one batch, and how well.

        Warns:
            NumericalWarning: where a search did not converge, with the largest residual.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> m = ConformalWarped(Euclidean(1), lambda x: -x[..., 1].log(), segments=4)  # the half plane
            >>> m.solve_geodesic(torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 1.0])).points[2, 1]
            tensor(1.4142)
        """
        with torch.no_grad():
            self.phi_values(x)  # whose message shows the shapes that the user knows
        return self._solver.solve(ConformalPaths(self.base, self._column), x, y)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the initial velocity of the geodesic, by ``solve_geodesic``."""
        velocity: Tensor = self.solve_geodesic(x, y).velocity
        return velocity

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the end of the geodesic of velocity u, by the splitting of ``conformal_flow``."""
        return self._flowed(conformal_flow, self._column, x, u)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``Γ(u, v) + dφ(u) v + dφ(v) u − ⟨u, v⟩ grad φ``, of the base on the right."""
        symbols: Tensor = conformal_curvature.conformal_christoffel(self, x, u, v)
        return symbols

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``R(u, v)w``, from that of the base and the Hessian of φ."""
        curved: Tensor = conformal_curvature.conformal_riemann(self, x, u, v, w)
        return curved

    def _hidden(self, x: Tensor) -> tuple[Tensor, ...]:
        return () if isinstance(self.phi, torch.nn.Module) else (self.phi_values(x),)

    def _column(self, x: Tensor) -> Tensor:
        return self.phi_values(x)[..., None]
