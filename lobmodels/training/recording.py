"""Records what a training step launches on a GPU once, and launches it again as a whole for each further batch.

A step of a small network launches about a hundred kernels, and the host needs longer to issue them than a fast GPU to
compute them: with several runs at once it is the host that limits them. A CUDA graph launches all of them in one call.
Only the loss and its gradients are recorded: clipping, optimiser and schedule, which differ from step to step, are not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Replay = Callable[[], object]
Made = list[Tensor | None]
Record = Callable[[Callable[[], Made]], tuple[Made, Replay]]  # what a function makes, and how to make it again there
WARM = 3  # batches computed before one is recorded: libraries allocate and choose their kernels in the first ones


def on_gpu(compute: Callable[[], Made]) -> tuple[Made, Replay]:
    """Record what `compute` launches, which must not wait for the GPU. Other threads may use the GPU meanwhile.

    cuBLAS sums in a workspace that torch keeps for each stream, and a recording writes to the one it was recorded with.
    So none is known when the recording begins, which then takes one from memory that is its own, and none when it has
    ended: else this memory, or the stream's, would be written by the recording while it holds something else. The
    default stream cannot be recorded; a stream of its own has the same effect.
    """
    current = torch.cuda.current_stream()
    own = current if current != torch.cuda.default_stream() else torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    torch._C._cuda_clearCublasWorkspaces()
    try:
        with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
            result = compute()
    finally:
        torch._C._cuda_clearCublasWorkspaces()
    return result, graph.replay


class RecordedStep:
    """`step(compute, index)`: loss of the sequences `index` (B,), with the gradients of `parameters` computed.

    `compute(index)` does so for `size` sequences or, for the last batch of an epoch, fewer; these, and the first
    batches, are computed as they are. It is the same function each time, passed and not kept: it holds the run, whose
    memory would else not be free once the run is over. Raises what `compute` raises, but not where recording alone
    fails: then nothing is recorded, with a warning.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], size: int, record: Record | None = None) -> None:
        self.parameters, self.size, self.record = list(parameters), size, record or on_gpu
        self.left = WARM  # batches to compute before one is recorded; -1 once that has failed
        self.replay: Replay | None = None

    def __call__(self, compute: Callable[[Tensor], Tensor], index: Tensor) -> Tensor:
        if len(index) != self.size or self.left:
            self.left -= self.left > 0 and len(index) == self.size
            return compute(index)
        if self.replay is None and not self._recorded(compute, index):
            return compute(index)
        assert self.replay is not None
        self.index.copy_(index)
        self.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient  # the memory that the recorded kernels write
        return self.loss

    def _recorded(self, compute: Callable[[Tensor], Tensor], index: Tensor) -> bool:
        """Record a step that reads which sequences to use from `self.index`. False where that fails."""
        self.index = index.clone()
        try:
            (loss, *self.gradients), replay = self.record(lambda: self._made(compute))
        except Exception as error:  # the steps themselves go on: they were computed without being recorded before
            logger.warning("training steps are not recorded (%s: %s)", type(error).__name__, error)
            self.left = -1
            return False
        finally:  # nothing was computed yet
            for parameter in self.parameters:
                parameter.grad = None
        assert loss is not None
        self.loss, self.replay = loss, replay
        return True

    def _made(self, compute: Callable[[Tensor], Tensor]) -> Made:
        """The loss of the sequences `self.index` and the gradient of each parameter."""
        return [compute(self.index), *(parameter.grad for parameter in self.parameters)]
