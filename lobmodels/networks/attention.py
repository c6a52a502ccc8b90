"""A GRU whose outputs attend to their own recent past: the same band in training, validation and online."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lobmodels.config import RunConfig
from lobmodels.networks.recurrent import RecurrentNetwork, State


class BandedSelfAttention(nn.Module):
    """Multi-head self-attention in which a step sees the last `window` steps, its own included.

    Parameters carry the names and shapes of `nn.MultiheadAttention`. Sequences are cut into blocks of `window`
    queries; each block attends to itself and its predecessor, so memory and time grow with T·window, not T².
    """

    def __init__(self, size: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.window, self.dropout = heads, window, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * size, size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * size))
        self.out_proj = nn.Linear(size, size)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, H) -> (T, B, H)
        steps, batch, size = x.shape
        width = min(self.window, steps)
        blocks = -(-steps // width)
        projected = torch.nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)  # (T, B, 3H)
        # One empty block in front gives the first block a predecessor; the tail is padded to whole blocks.
        projected = torch.nn.functional.pad(projected, (0, 0, 0, 0, width, blocks * width - steps))
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).unbind(2)  # each ((n+1)W, B, heads, d)
        q = self._blocks(q[width:], blocks, width)  # (n, B*heads, W, d)
        k = self._with_predecessor(k, blocks, width)  # (n, B*heads, 2W, d)
        v = self._with_predecessor(v, blocks, width)
        mask = self._mask(blocks, width, x.device)  # (n, 1, W, 2W)
        dropout = self.dropout if self.training else 0.0
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)  # (n, B*heads, W, d)
        y = y.transpose(1, 2).reshape(blocks * width, batch, size)
        return self.out_proj(y[:steps])

    def step(self, x: Tensor, keys: Tensor, values: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: x (B, H), ring buffers (window, B, H) whose last `count[0, b]` rows are filled, newest last."""
        batch, size = x.shape
        q, k, v = torch.nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        keys = torch.cat([keys[1:], k.unsqueeze(0)])
        values = torch.cat([values[1:], v.unsqueeze(0)])
        seen = torch.arange(self.window, 0, -1, device=x.device)[:, None] <= count + 1  # (window, B)
        split = (self.heads, size // self.heads)
        y = scaled_dot_product_attention(
            q.reshape(batch, 1, *split).transpose(1, 2),  # (B, heads, 1, d)
            keys.permute(1, 0, 2).unflatten(-1, split).transpose(1, 2),  # (B, heads, window, d)
            values.permute(1, 0, 2).unflatten(-1, split).transpose(1, 2),
            attn_mask=seen.T[:, None, None, :],
        )
        return self.out_proj(y.reshape(batch, size)), keys, values

    @staticmethod
    def _blocks(x: Tensor, blocks: int, width: int) -> Tensor:
        """(nW, B, heads, d) -> (n, B*heads, W, d)"""
        return x.flatten(1, 2).unflatten(0, (blocks, width)).transpose(1, 2)

    def _with_predecessor(self, x: Tensor, blocks: int, width: int) -> Tensor:
        """((n+1)W, B, heads, d) -> (n, B*heads, 2W, d): each block behind the one before it."""
        return torch.cat([self._blocks(x[:-width], blocks, width), self._blocks(x[width:], blocks, width)], dim=2)

    def _mask(self, blocks: int, width: int, device: torch.device) -> Tensor:
        """(n, 1, W, 2W), true where query i of a block may see key j: 0 <= distance < window, and the key exists."""
        i = torch.arange(width, device=device)[:, None] + width
        j = torch.arange(2 * width, device=device)[None, :]
        band = (i - j >= 0) & (i - j < self.window)  # (W, 2W)
        exists = (torch.arange(blocks, device=device)[:, None] > 0) | (j >= width)  # (n, 2W)
        return (band[None] & exists[:, None, :]).unsqueeze(1)


class AttentionNetwork(RecurrentNetwork):
    """head(LayerNorm(gru + attention(gru))), without positional encoding.

    The state adds the attention's keys and values of the last `attention_window` steps and their number.
    """

    def __init__(self, config: RunConfig, input_size: int) -> None:
        super().__init__(config, input_size)
        self.attention = BandedSelfAttention(
            config.hidden_size, config.attention_heads, config.attention_window, config.attention_dropout
        )
        self.norm = nn.LayerNorm(config.hidden_size)

    def initial_state(self, batch: int) -> State:
        weight = self.attention.in_proj_weight
        ring = weight.new_zeros(self.attention.window, batch, weight.shape[1])
        count = torch.zeros(1, batch, dtype=torch.long, device=weight.device)
        return (*super().initial_state(batch), ring, ring, count)

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.encode(x)
        return self.head(self.norm(outputs + self.attention(outputs)))

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        *recurrent, keys, values, count = state
        outputs, recurrent_state = self.encode_step(x, tuple(recurrent))
        attended, keys, values = self.attention.step(outputs, keys, values, count)
        y = self.head(self.norm(outputs + attended))
        return y, (*recurrent_state, keys, values, count + 1)
