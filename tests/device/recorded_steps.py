"""A trial of recorded steps: what a training step launches on a GPU, recorded once and launched again as a whole.

A step of a small network launches about a hundred kernels, and the host needs longer to issue them than a fast GPU to
compute them: with several runs at once it is the host that limits them. A CUDA graph launches all of them in one call.
Only the loss and its gradients are recorded: clipping, optimiser and schedule, which differ from step to step, are not.

Not part of lobtuna yet. On an H100 a run whose steps are recorded ends with the weights of the run that issues them,
bit for bit, and sixteen of them take half the time a step of sixteen others. But of several recorded runs at once
some ended with other weights than alone. What recordings share is cuBLAS's workspace, which torch keeps for a stream
and drops with any graph that was recorded on it (pytorch issue 193402). Until that is understood, nothing is recorded.
`make gpu` prints both findings anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from lobmodels.training.batches import Split
from lobmodels.training.run import TrainingRun

logger = logging.getLogger(__name__)

Replay = Callable[[], object]
Record = Callable[[Callable[[], Tensor]], tuple[Tensor, Replay]]  # what a function returns, and how to do it again
WARM = 3  # batches computed before one is recorded: libraries allocate and choose their kernels in the first ones


def on_gpu(compute: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
    """Record what `compute` launches, which must not wait for the GPU. Other threads may use the GPU meanwhile.

    The workspaces of cuBLAS are dropped before and after: the recording takes one from memory that is its own and that
    nobody else is given. The default stream cannot be recorded.
    """
    current = torch.cuda.current_stream()
    own = current if current != torch.cuda.default_stream() else torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    torch._C._cuda_clearCublasWorkspaces()
    with torch.cuda.graph(graph, stream=own, capture_error_mode="thread_local"):
        result = compute()
    torch._C._cuda_clearCublasWorkspaces()
    return result, graph.replay


class RecordedStep:
    """`step(compute, index)`: loss of the sequences `index` (B,), with the gradients of `parameters` computed.

    `compute(index)` does so for `size` sequences or, for the last batch of an epoch, fewer; these, and the first
    batches, are computed as they are. It is the same function each time, passed and not kept: it holds the run, whose
    memory would else not be free once the run is over. Raises what `compute` raises, but not where recording alone
    fails: then nothing is recorded, with a warning.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], size: int, record: Record = on_gpu) -> None:
        self.parameters, self.size, self.record = list(parameters), size, record
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
            self.loss, replay = self.record(lambda: compute(self.index))
        except Exception as error:  # the steps themselves go on: they were computed without being recorded before
            logger.warning("training steps are not recorded (%s: %s)", type(error).__name__, error)
            self.left = -1
            for parameter in self.parameters:
                parameter.grad = None
            return False
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.replay = replay
        return True


def record(run: TrainingRun) -> RecordedStep:
    """Let `run`, whose data lies on the GPU, record its steps."""
    train, size = run.data.train, run.config.batch_size
    step = RecordedStep(list(run.network.parameters()), size)

    def gradients(index: Tensor) -> Tensor:
        return run._gradients(*_batch(train, index))

    def losses(order: Tensor) -> Iterator[tuple[Tensor, int]]:
        for index in order.to(run.device).split(size):
            with run.random.drawing():
                loss = step(gradients, index)
            yield loss, len(index)

    run._losses = losses  # type: ignore[method-assign]
    return step


def _batch(split: Split, index: Tensor) -> tuple[Tensor, Tensor]:
    (batch,) = split.batches(index, len(index))
    return batch
