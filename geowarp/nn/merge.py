"""One BDH model with the neurons of several."""

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from ..errors import GeowarpError
from ..manifolds.record import point_error
from .bdh import BDH
from .config import BDHConfig
from .low_rank import LowRankFactor

__all__ = ["merge"]

_SUMMED = ("mlp_internal_dim_multiplier", "rotary_widths")
_RUNNING = ("dropout", "segment_length", "checkpoint")  # how a model is run, not what it is
_FACTORS = ("decoder_x", "decoder_y", "encoder")


def merge(models: Sequence[BDH]) -> BDH:
    """Return a model that has the neurons of all ``models``, head by head; it is to be tuned afterwards.

    Head i of the result holds head i of every model, one after the other, each with its own rotary
    frequencies. A factor of models 1 to m is::

        X = [w_1 X_1; …; w_m X_m] / ‖w‖,    w_i = √n_i for D_x and D_y,    w_i = √c_i for E

    with n_i neurons in model i, which was itself merged from c_i models, c_i = 1 if it was not. X is on
    Stiefel without projection: ``XᵀX = Σ w_i² X_iᵀX_i / ‖w‖² = I``. With their gains ``√(n/d)``, the rows of
    ``D_x`` and ``D_y`` are the models' own, so a neuron fires as it did for the same v. The rows of E are
    those of the original models over ``√Σ c_i``, which LayerNorm ignores. Euclidean factors are concatenated
    as they are.

    The embedding, the head, diagonals, decays and strengths are averaged with weights c_i, so that merging is
    associative. Models that were tuned from one base differ little in these. Where diagonals differ, their
    mean changes the rows.

    The paper's: concatenation along the neurons, and means of the rest. Ours: that it stays on Stiefel.

    Args:
        models: two or more of one config, except for the numbers of neurons, ``dropout``,
            ``segment_length`` and ``checkpoint``; they stay as they are.

    Returns:
        A new model with ``mlp_internal_dim_multiplier`` the sum, in the dtype, on the device, in the training
        mode and with the other settings of the first.

    Raises:
        GeowarpError: for fewer than two models, models that differ in another field, dtype or device, or a
            factor that is off its manifold, as after ``model.bfloat16()``.

    References:
        Kosowski et al., The Dragon Hatchling: The missing link between the transformer and models of the
        brain, arXiv 2509.26507 (2025), section 7.1.

    Example:
        >>> from geowarp.nn import BDHConfig
        >>> models = [BDH(BDHConfig(2, 16, 0.0, 2, multiplier)) for multiplier in (4, 8)]
        >>> merged = merge(models)
        >>> merged.config.n_neurons, merged.config.rotary_widths
        (192, (32, 64))
        >>> x = merged.decoder_x.weight
        >>> torch.allclose(x.mT @ x, torch.eye(16), atol=1e-6)
        True
    """
    _check(models)
    config = _merged_config([model.config for model in models])
    first = models[0].lm_head
    with torch.device(first.device):
        merged = BDH(config).to(first.dtype)
    merged.load_state_dict(_merged_state(models))
    return merged.train(models[0].training)


def _merged_state(models: Sequence[BDH]) -> dict[str, Tensor]:
    counts = [len(_widths(model.config)) for model in models]
    states = [model.state_dict() for model in models]
    merged = {name: _mean([state[name] for state in states], counts) for name in _averaged(states[0])}
    for factor in _FACTORS:
        sizes = counts if factor == "encoder" else [model.config.n_neurons for model in models]
        stiefel = models[0].config.factors == "stiefel"
        weights = [(size / sum(sizes)) ** 0.5 if stiefel else 1.0 for size in sizes]
        blocks = [
            weight * state[f"{factor}.weight"].as_subclass(Tensor).unflatten(0, (model.config.n_head, -1))
            for weight, state, model in zip(weights, states, models, strict=True)
        ]
        merged[f"{factor}.weight"] = torch.cat(blocks, dim=1).flatten(0, 1)
    return merged


def _averaged(state: dict[str, Tensor]) -> list[str]:
    return [name for name in state if name not in {f"{factor}.weight" for factor in _FACTORS}]


def _mean(tensors: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Return the weighted mean; of equal tensors, exactly that tensor."""
    mean, total = tensors[0], sum(counts)
    for tensor, count in zip(tensors[1:], counts[1:], strict=True):
        mean = mean + count / total * (tensor - tensors[0])
    return mean


def _widths(config: BDHConfig) -> tuple[int, ...]:
    return config.rotary_widths or (config.neurons_per_head,)


def _merged_config(configs: Sequence[BDHConfig]) -> BDHConfig:
    return replace(
        configs[0],
        mlp_internal_dim_multiplier=sum(config.mlp_internal_dim_multiplier for config in configs),
        rotary_widths=tuple(width for config in configs for width in _widths(config)),
    )


def _check(models: Sequence[BDH]) -> None:
    if len(models) < 2:
        raise GeowarpError(f"merge: {len(models)} models given; merging takes two or more")
    names = [field.name for field in fields(BDHConfig) if field.name not in (*_SUMMED, *_RUNNING)]
    first = models[0]
    for i, model in enumerate(models[1:], start=1):
        described = [(name, getattr(first.config, name), getattr(model.config, name)) for name in names]
        described += [(n, getattr(first.lm_head, n), getattr(model.lm_head, n)) for n in ("dtype", "device")]
        for name, expected, value in described:
            if value != expected:
                raise GeowarpError(
                    f"merge: models 0 and {i} differ in {name}: {expected!r} and {value!r}; only "
                    f"{', '.join(('mlp_internal_dim_multiplier', *_RUNNING))} may differ"
                )
    for i, model in enumerate(models):
        _check_points(i, model)


def _check_points(i: int, model: BDH) -> None:
    for name in _FACTORS:
        factor: LowRankFactor = getattr(model, name)
        error = None if factor.manifold is None else point_error(factor.manifold, factor.weight)
        if error is not None:
            raise GeowarpError(
                f"merge: {name} of model {i}: {error}; in half precision, all points at once with "
                "model.float() and model.load_state_dict(project_state_dict(model, model.state_dict()))"
            )
