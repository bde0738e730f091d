"""Errors that carry the number and the remedy, and warnings by kind so that they can be filtered."""

__all__ = [
    "ConformanceError",
    "FairnessWarning",
    "GeowarpError",
    "NonFiniteError",
    "NotConvergedError",
    "NotOnManifoldError",
    "NumericalWarning",
    "PerformanceWarning",
    "UnavailableError",
]


class GeowarpError(ValueError):
    """The root of all errors that geowarp raises."""


class NotOnManifoldError(GeowarpError):
    """A tensor is not a point of its manifold, or not a tangent vector at its point."""


class ConformanceError(GeowarpError, AssertionError):
    """A manifold violates a property that every manifold must have."""


class NonFiniteError(GeowarpError):
    """A gradient, a point or a weight is infinite or not a number."""


class UnavailableError(GeowarpError, NotImplementedError):
    """A manifold has no formula for an operation; the message names what to use instead."""


class NotConvergedError(GeowarpError):
    """An iteration ended before its residual was a rounding error."""


class NumericalWarning(UserWarning):
    """A result has fewer correct digits than its dtype allows."""


class PerformanceWarning(UserWarning):
    """A result is right, but a cheaper way to it exists."""


class FairnessWarning(UserWarning):
    """A choice that enlarges a bias, or that breaks a parity which was asked for."""
