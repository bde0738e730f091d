"""The rival of the BDH benchmarks: the published equations as they stand, in plain torch.

Training forms the ``T x T`` scores of every head and layer, the rotary phases are computed again in each
layer, and generation computes the whole prefix again for each token, like the reference implementation of
Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), whose parameter names and shapes these are.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geowarp.nn import BDHConfig

THETA = 2.0**16


class OfficialBDH(nn.Module):
    """BDH-GPU with free factors: ``D_x`` is ``encoder``, ``D_y`` is ``encoder_v`` and ``E`` is ``decoder``.

    Args:
        config: the sizes; what the official model does not know is ignored.
        dtype: of parameters and phases.
    """

    freqs: Tensor

    def __init__(self, config: BDHConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        h, d, width = config.n_head, config.n_embd, config.neurons_per_head

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, dtype=dtype).normal_(std=0.02))

        self.encoder, self.encoder_v = normal(h, d, width), normal(h, d, width)
        self.decoder = normal(h * width, d)
        self.lm_head = normal(d, config.vocab_size)
        self.embed = nn.Embedding(config.vocab_size, d, _weight=normal(config.vocab_size, d).data)
        pair = torch.arange(width, dtype=dtype).div(2, rounding_mode="floor") * 2
        self.register_buffer("freqs", THETA ** (-pair / width) / (2 * math.pi), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(B, T, vocabulary)`` of each next token, for ``tokens (B, T)``."""
        v = _norm(self.embed(tokens).unsqueeze(1))  # (B, 1, T, d)
        for _ in range(self.config.n_layer):
            x = F.relu(v @ self.encoder)  # (B, h, T, N)
            keys = self.rotate(x)
            scores = (keys @ keys.mT).tril(diagonal=-1)  # (B, h, T, T)
            gate = F.relu(_norm(scores @ v) @ self.encoder_v)
            y = F.dropout(x * gate, self.config.dropout, self.training)
            out = y.transpose(1, 2).flatten(2).unsqueeze(1) @ self.decoder
            v = _norm(v + _norm(out))
        return v.squeeze(1) @ self.lm_head

    def rotate(self, x: Tensor) -> Tensor:
        """Return ``x (..., T, N)`` with pairs of neighbours turned in proportion to their positions."""
        position = torch.arange(x.shape[-2], dtype=self.freqs.dtype, device=x.device)
        angle = (position[:, None] * self.freqs).remainder(1) * (2 * math.pi)
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        return (x * angle.cos()).to(x.dtype) + (turned * angle.sin()).to(x.dtype)

    @torch.no_grad()
    def generate(self, tokens: Tensor, max_new_tokens: int) -> Tensor:
        """Return ``tokens (B, T)`` continued by the likeliest ones, each from the whole prefix."""
        for _ in range(max_new_tokens):
            following = self(tokens)[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat((tokens, following), dim=1)
        return tokens


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
