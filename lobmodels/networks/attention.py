"""A GRU whose outputs attend to their own recent past: the same band in training, validation and online."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from lobmodels.config import RunConfig
from lobmodels.networks.cpu_attention import BandedAttention
from lobmodels.networks.network import ARCHITECTURES, State
from lobmodels.networks.recurrent import GruNetwork

ALIGNED = 8  # a GPU's attention kernel takes heads of a multiple of 8; others would fall to one that stores all scores
BLOCK = 32  # queries computed together: a block of b reads window - 1 + b keys, so small blocks waste little


class BandedSelfAttention(nn.Module):
    """Multi-head self-attention in which a step sees the last `window` steps, its own included.

    Parameters carry the names and shapes of `nn.MultiheadAttention`. On a GPU sequences are cut into blocks of queries;
    each block attends to itself and the keys its window reaches back to, so memory and time grow with T·window, not
    T². On a CPU `lobmodels.networks.cpu_attention` does the same in smaller pieces.
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
        dropout = self.dropout if self.training else 0.0
        projected = torch.nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)  # (T, B, 3H)
        if x.device.type == "cpu":
            split = projected.view(steps, batch, 3, self.heads, -1).permute(2, 1, 3, 0, 4)  # (3, B, heads, T, d)
            q, k, v = split.reshape(3, batch * self.heads, steps, -1)
            y = BandedAttention.apply(q, k, v, self.window, dropout)
            y = y.view(batch, self.heads, steps, -1).permute(2, 0, 1, 3).reshape(steps, batch, size)
        else:
            y = self._in_blocks(projected, dropout)
        return self.out_proj(y)

    def _in_blocks(self, projected: Tensor, dropout: float) -> Tensor:  # (T, B, 3H) -> (T, B, H)
        steps, batch, _ = projected.shape
        block = min(BLOCK, steps)
        blocks = -(-steps // block)
        reach = min(-(-(self.window - 1) // block), blocks)  # blocks before its own that a query may look into
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).unbind(2)  # each (T, B, heads, d)
        q = _blocks(q, block, blocks, 0)  # (n, B*heads, b, d)
        k = _blocks(k, block, blocks, reach)  # (n, B*heads, p+b, d) with p = reach * b
        v = _blocks(v, block, blocks, reach)
        mask = self._mask(blocks, block, reach * block, projected.device)
        size = q.shape[-1]
        q, k, v = (pad(x, (0, -size % ALIGNED)) for x in (q, k, v))  # zeros change no score, and give zeros
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=size**-0.5)
        y = y[..., :size]  # (n, B*heads, b, d)
        return y.transpose(1, 2).reshape(blocks * block, batch, -1)[:steps]

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

    def _mask(self, blocks: int, block: int, past: int, device: torch.device) -> Tensor:
        """(n, 1, b, p+b), true where query i of a block may see key j: 0 <= distance < window, and the key exists."""
        i = torch.arange(block, device=device)[:, None] + past
        j = torch.arange(past + block, device=device)[None, :]
        band = (i - j >= 0) & (i - j < self.window)  # (b, p+b)
        exists = torch.arange(blocks, device=device)[:, None] * block + j >= past  # (n, p+b)
        return (band[None] & exists[:, None, :]).unsqueeze(1)


def _blocks(x: Tensor, block: int, blocks: int, reach: int) -> Tensor:
    """(T, B, heads, d) -> (n, B*heads, p+b, d): each block of b steps behind the `reach` blocks before it."""
    padding = (0, 0, 0, 0, reach * block, blocks * block - x.shape[0])
    pieces = pad(x.flatten(1, 2), padding).unflatten(0, (reach + blocks, block)).transpose(1, 2)
    return torch.cat([pieces[i : i + blocks] for i in range(reach + 1)], dim=2)


@ARCHITECTURES.register("gru_attention")
class AttentionNetwork(GruNetwork):
    """head(LayerNorm(gru + attention(gru))), without positional encoding.

    The state adds the attention's keys and values of the last `attention_window` steps and their number.
    """

    def __init__(self, config: RunConfig, input_size: int, targets: int) -> None:
        super().__init__(config, input_size, targets)
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
