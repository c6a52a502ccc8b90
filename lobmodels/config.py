"""The typed configuration of a run: every knob of the search space, with the rules that bind them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lobmodels.errors import ConfigError

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]

# A parameter on the left means something only while the one it names has one of these values. Study files, trial
# configurations and checkpoints all read this one table.
REQUIRES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "attention_heads": ("architecture", ("gru_attention",)),
    "attention_window": ("architecture", ("gru_attention",)),
    "attention_dropout": ("architecture", ("gru_attention",)),
    "temporal": ("derived", (True,)),
    "huber_delta": ("loss", ("huber",)),
    "weighted_ratio": ("loss", ("combined", "pearson_combined")),
    "pearson_alpha": ("loss", ("pearson_combined",)),
    "plateau_patience": ("scheduler", ("plateau",)),
    "plateau_factor": ("scheduler", ("plateau",)),
    "onecycle_peak": ("scheduler", ("onecycle",)),
    "warmup_epochs": ("scheduler", ("cosine",)),
}
FEATURE_FLAGS = (
    "derived",
    "temporal",
    "interaction",
    "microstructure",
    "lag",
)  # in the order they are appended


class RunConfig(BaseModel):
    """Parameter values of one run, without its seed. Immutable; unknown names are refused.

    Build it with `RunConfig.parse`, which reports every problem at once as a `ConfigError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # network
    architecture: Literal["gru", "lstm", "gru_attention"] = "gru"
    input_block: Literal["none", "projection"] = "none"
    head: Literal["linear", "mlp"] = "linear"
    hidden_size: Annotated[int, Field(ge=1, le=2048)] = 64
    num_layers: Annotated[int, Field(ge=1, le=8)] = 2
    dropout: Probability = 0.0
    attention_heads: Annotated[int, Field(ge=1, le=64)] = 4
    attention_window: Annotated[int, Field(ge=1)] = 128  # states seen by a query, its own included
    attention_dropout: Probability = 0.1
    # inputs
    derived: bool = False
    temporal: bool = False
    interaction: bool = False
    microstructure: bool = False
    lag: bool = False
    normalizer: Literal["none", "zscore"] = "none"
    input_noise: NonNegative = 0.0  # standard deviation added to the network's inputs while training
    feature_dropout: Probability = 0.0  # chance that a column is silenced for a whole sequence while training
    # loss
    loss: Literal["mse", "huber", "weighted_mse", "combined", "weighted_pearson", "pearson_combined"] = "mse"
    huber_delta: Positive = 1.0
    weighted_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    pearson_alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.6
    t0_weight: NonNegative = 1.0
    t1_weight: NonNegative = 1.0
    temporal_consistency: NonNegative = 0.0  # weight of the first-difference penalty
    # optimiser
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 192
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30
    early_stopping: Annotated[int, Field(ge=1)] = 8  # epochs without a better score before the run ends
    grad_clip: NonNegative = 1.0  # largest gradient norm; 0 switches clipping off
    ema_decay: Probability = 0.0  # 0 switches the moving average of the weights off
    scheduler: Literal["none", "plateau", "onecycle", "cosine"] = "plateau"
    plateau_patience: Annotated[int, Field(ge=0)] = 3
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    onecycle_peak: Annotated[float, Field(ge=1.0)] = 10.0  # highest learning rate as a multiple of lr
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    amp: bool = True  # half precision on CUDA; a CPU run is always float32

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        problems = [
            f"{name}={getattr(self, name)!r} needs {parent} to be {' or '.join(map(str, allowed))}, "
            f"not {getattr(self, parent)!r}"
            for name, (parent, allowed) in REQUIRES.items()
            if name in self.model_fields_set and getattr(self, name) is not False
            if getattr(self, parent) not in allowed
        ]
        if self.architecture == "gru_attention" and self.hidden_size % self.attention_heads:
            problems.append(
                f"hidden_size={self.hidden_size} must be a multiple of attention_heads={self.attention_heads}"
            )
        if self.t0_weight + self.t1_weight == 0:
            problems.append("t0_weight and t1_weight are both 0: nothing would be learned")
        if self.scheduler == "cosine" and self.warmup_epochs >= self.epochs:
            problems.append(f"warmup_epochs={self.warmup_epochs} must be less than epochs={self.epochs}")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Validate plain values. Raises `ConfigError` that lists every problem with its parameter."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError([_describe(item) for item in error.errors()]) from None

    def active(self) -> dict[str, Any]:
        """The values that mean something in this run, defaults included, without those `REQUIRES` switches off."""
        return {
            name: value
            for name, value in self.model_dump().items()
            if name not in REQUIRES or getattr(self, REQUIRES[name][0]) in REQUIRES[name][1]
        }

    def key(self) -> str:
        """Twelve hex digits that name this configuration: equal for equal active values."""
        text = json.dumps(self.active(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def feature_groups(self) -> tuple[str, ...]:
        """Names of the feature groups that are switched on, in the order they are appended."""
        return tuple(name for name in FEATURE_FLAGS if getattr(self, name))


def _describe(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}={item['input']!r}: {message[0].lower()}{message[1:]}"
