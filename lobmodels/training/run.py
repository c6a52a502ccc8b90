"""One run: epochs of training and validation, driven one at a time by the caller, resumable after each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.device import float32_arithmetic, memory_errors
from lobmodels.errors import TrainingError
from lobmodels.networks import build_network
from lobmodels.networks.network import ARCHITECTURES, HEADS, INPUT_BLOCKS
from lobmodels.training.averages import Averages
from lobmodels.training.batches import RunData, Split
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.finish import Finished
from lobmodels.training.kept_epochs import KeptEpochs
from lobmodels.training.losses import LOSSES, build_loss
from lobmodels.training.measures import spread_index
from lobmodels.training.optimization import Schedule, build_optimizer
from lobmodels.training.outputs import outputs
from lobmodels.training.randomness import RandomStream
from lobmodels.training.recording import RecordedStep
from lobmodels.training.refit import RefitPlan
from lobmodels.training.scores import score_for
from lobmodels.training.state import Resumable
from lobmodels.training.stopwatch import Stopwatch
from lobmodels.training.turns import Job, result_of, until_computed

EVALUATION_BATCH = 128


class TrainingRun(Resumable):
    """A run in progress. All its state is in this object: a process may hold several.

    Each epoch draws its randomness from (seed, epoch) alone, so a restored run goes on exactly as it would have.
    A run without selection sequences is a refit and needs its `plan`: it goes through all its epochs and keeps the
    last weights. Which epochs a run keeps, `lobmodels.training.kept_epochs` says; early stopping goes by the best one.
    """

    def __init__(self, config: RunConfig, seed: int, data: RunData, plan: RefitPlan | None = None) -> None:
        assert (plan is None) == data.rule.validated, "a refit has a plan, and a validated run has none"
        self.config, self.seed, self.data, self.plan = config, seed, data, plan
        self.device, self.schema = data.device, data.dataset.schema
        self.random = RandomStream(self.device)
        self.random.seed(seed, 0)
        with memory_errors(self.device), self.random.drawing():
            self.network = build_network(config, len(data.pipeline.names), len(self.schema.targets)).to(self.device)
        self.optimizer = build_optimizer(self.network, config)
        steps = math.ceil(len(data.train) / config.batch_size)
        self.schedule = Schedule(self.optimizer, config, steps, plan)
        self.averages = Averages(self.network, config)
        self.loss = build_loss(config, self.device, self.schema)
        self.amp = config.amp and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp)
        with memory_errors(self.device):
            self.recorded = self._recorder()
        self.history: list[EpochRecord] = []
        self.best_epoch = -1
        self.kept = KeptEpochs(config, self.schema.targets, plan)
        self.clock = Stopwatch()

    @property
    def epoch(self) -> int:
        """Number of the next epoch."""
        return len(self.history)

    @property
    def epochs(self) -> int:
        """Most epochs that it will have."""
        return self.config.epochs if self.plan is None else self.plan.epochs

    @property
    def stop_reason(self) -> str | None:
        """Why the run is over: `early_stopping`, `epochs`, or None while it is not."""
        if self.plan is None and self.history and self.epoch - 1 - self.best_epoch >= self.config.early_stopping:
            return "early_stopping"
        return "epochs" if self.epoch >= self.epochs else None

    @property
    def finished(self) -> bool:
        """Whether `train_epoch` has nothing left to do."""
        return self.stop_reason is not None

    def train_epoch(self) -> EpochRecord:
        """Train one epoch, validate, keep the weights if they are among the best so far.

        Raises `TrainingError` where loss or score is not finite, `DeviceMemoryError` where the GPU has too little
        memory. After an error only a stored state can go on.
        """
        for _ in self.steps():
            pass
        return self.history[-1]

    def steps(self) -> Job[None]:
        """`train_epoch` one training step at a time, for several runs that alternate on one device.

        Nothing between two steps waits for the device, and the seconds between them are not counted as this run's.
        """
        return self.clock.counting(self._epoch())

    def _epoch(self) -> Job[None]:
        lr = self.schedule.lr
        self.random.seed(self.seed, self.epoch + 1)
        with memory_errors(self.device):
            sums = yield from self.train_pass()
            yield from until_computed(self.device)
            loss, grad_norm, stepped = sums.tolist()
            loss, grad_norm = loss / len(self.data.train), grad_norm / max(1.0, stepped)
            self.averages.after_epoch()
            trained = self.clock.seconds
            scores = (yield from self._selection()) if self.plan is None else self._no_scores()
        self._refuse_not_finite(loss, scores)
        mean = scores.pop("mean")
        record = EpochRecord(self.epoch, loss, scores, mean, lr, grad_norm, trained, self.clock.seconds)
        if self.plan is not None or not self.history or mean > self.history[self.best_epoch].mean:
            self.best_epoch = record.epoch
        self.history.append(record)
        self.kept.update(self.history, self.averages.evaluated)
        self.schedule.after_epoch(mean)

    def _selection(self) -> Job[dict[str, float]]:
        """`_named` scores on the selection sequences."""
        score = self._evaluate(self.data.select)
        yield from until_computed(self.device)
        return self._named(score)

    def train_pass(self) -> Job[Tensor]:
        """One pass over the train sequences. Returns (3,) on the device, summed over sequences: the loss, the gradient
        norm of steps in which it was finite, and 1 for these. The scaler skips the other steps."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.network.train()
        with self.random.drawing():
            order = torch.randperm(len(self.data.train))
        for loss, size in self._losses(order):
            sums += self._step(loss) * size
            yield
        return sums

    def _losses(self, order: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Loss of each batch, with its gradients computed, and the batch's sequences."""
        if self.recorded is None:
            for x, y in self.data.train.batches(order, self.config.batch_size):
                with self.random.drawing():
                    loss = self._gradients(x, y)
                yield loss, x.shape[1]
            return
        for index in order.to(self.device).split(self.config.batch_size):
            with self.random.drawing():
                loss = self.recorded(self._gradients_of, index)
            yield loss, len(index)

    def _recorder(self) -> RecordedStep | None:
        """None where steps cannot be recorded, or are not known to launch the same each time."""
        config, train = self.config, self.data.train
        own = LOSSES.is_own(config.loss) and INPUT_BLOCKS.is_own(config.input_block) and HEADS.is_own(config.head)
        same = self.amp and train.resident and train.lengths is None
        if not (own and same and ARCHITECTURES.is_own(config.architecture) and self.network.recordable()):
            return None
        return RecordedStep(list(self.network.parameters()), config.batch_size)

    def _gradients_of(self, index: Tensor) -> Tensor:
        """`_gradients` of the sequences `index` (B,)."""
        return self._gradients(*self.data.train.gather(index))

    def _gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Loss of the inputs (T, B, F) and targets (S, B, K), whose gradients are added to the parameters'."""
        with torch.autocast(self.device.type, torch.float16, enabled=self.amp):
            prediction = self.network(self._augmented(x))
        loss = self.loss(prediction[-y.shape[0] :].float(), y)  # the scored steps are the last ones
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _step(self, loss: Tensor) -> Tensor:
        """One step of the optimiser by the gradients; what `train_pass` sums for one sequence, (3,)."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.grad_clip or math.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.after_step()
        self.averages.after_step()
        finite = norm.isfinite()
        return torch.stack([loss, norm.where(finite, 0.0), finite.to(norm.dtype)])

    def _augmented(self, x: Tensor) -> Tensor:
        """Inputs (T, B, F) with noise added and columns silenced, as configured."""
        if self.config.input_noise > 0:
            x = x + self.config.input_noise * torch.randn_like(x)
        p = self.config.feature_dropout
        if p > 0:  # one mask a sequence, so that a column is absent for the whole sequence
            x = x * (torch.rand(1, *x.shape[1:], device=x.device) >= p) / (1 - p)
        return x

    @torch.inference_mode()
    def _evaluate(self, split: Split, network: nn.Module | None = None) -> Tensor:
        """Score per target (K,), float64 on the device, of `network` or else of the present weights. It computes in
        float32 even where the run trains in half precision: what is selected and reported is what the submission will
        compute."""
        network = (self.averages.evaluated if network is None else network).eval()
        metric, whole = score_for(self.schema, self.device), not self.schema.variable_length
        with float32_arithmetic():
            for x, y in split.batches(torch.arange(len(split)), EVALUATION_BATCH):
                p = network(x)[-y.shape[0] :]  # the scored steps are the last ones
                there = slice(None) if whole else ~y[..., 0].isnan()
                metric.update(p[there], y[there])
        return metric.compute()

    def _named(self, score: Tensor) -> dict[str, float]:
        """Score of each target by its name, and their mean."""
        values = score.tolist()
        return {**dict(zip(self.schema.targets, values, strict=True)), "mean": sum(values) / len(values)}

    def _no_scores(self) -> dict[str, float]:
        """What a refit has instead: it is trained on the sequences that would score it."""
        return dict.fromkeys((*self.schema.targets, "mean"), math.nan)

    def _refuse_not_finite(self, loss: float, scores: dict[str, float]) -> None:
        known = scores if self.plan is None else {}
        for name, value in (("training loss", loss), *((f"score of {name}", value) for name, value in known.items())):
            if not math.isfinite(value):
                raise TrainingError(f"{name} is {value} in epoch {self.epoch + 1}: the run diverged; try a smaller lr")

    def result(self, name: str = "") -> Checkpoint:
        """The kept weights with their scores. The report sequences are evaluated here, once.

        Raises `TrainingError` before the first epoch.
        """
        return result_of(self.finish()).checkpoint(name)

    def finish(self) -> Job[Finished]:
        """What the device computes of `result`, as a job among others. The rest needs the host alone."""
        if not self.history:
            raise TrainingError("a run without an epoch has no result")
        with memory_errors(self.device):
            evaluated, data = self.averages.evaluated, self.data
            current = {k: v.detach().clone() for k, v in evaluated.state_dict().items()}
            network = self.kept.on(evaluated, self.history)
            report = self._evaluate(data.report, network) if len(data.report) else None
            splits = {"select": data.select, "report": data.report}
            found = {part: outputs(network, split) for part, split in splits.items() if len(split)}
            train = outputs(network, data.train, torch.from_numpy(spread_index(len(data.train))))
            yield from until_computed(self.device)
            judged = None if report is None else self._named(report)
            kept = [
                dataclasses.replace(epoch, weights={k: v.float().cpu() for k, v in epoch.weights.items()})
                for epoch in self.kept.result(self.history)
            ]
            finished = Finished(
                config=self.config,
                seed=self.seed,
                data=data,
                history=[record.document() for record in self.history],
                best_epoch=self.best_epoch,
                kept=kept,
                scores={"select": self._select_scores(network), "report": judged},
                outputs={part: output.on_host() for part, output in found.items()},
                train=train.on_host(),
            )
            evaluated.load_state_dict(current)
            return finished

    def _select_scores(self, network: nn.Module) -> dict[str, float] | None:
        """Scores of the kept weights on the selection sequences: of one epoch they are known."""
        if self.plan is not None:
            return None
        kept = self.kept.result(self.history)
        if len(kept) > 1:
            return self._named(self._evaluate(self.data.select, network))
        best = self.history[kept[0].epoch]
        return {**best.scores, "mean": best.mean}
