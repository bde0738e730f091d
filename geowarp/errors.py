"""Errors that carry the number and the remedy, and warnings by kind so that they can be filtered."""

__all__ = ["GeowarpError", "NotOnManifoldError", "NumericalWarning", "PerformanceWarning"]


class GeowarpError(ValueError):
    """The root of all errors that geowarp raises."""


class NotOnManifoldError(GeowarpError):
    """A tensor is not a point of its manifold, or not a tangent vector at its point."""


class NumericalWarning(UserWarning):
    """A result has fewer correct digits than its dtype allows."""


class PerformanceWarning(UserWarning):
    """A result is right, but a cheaper way to it exists."""
