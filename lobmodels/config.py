"""The typed configuration of a run: every parameter of the search space, its meaning, and the rules between them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lobmodels.errors import ConfigError

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Above:
    """All numbers above `bound`, where a condition would otherwise list values."""

    bound: float

    def __contains__(self, value: Any) -> bool:
        return bool(value > self.bound)


Allowed = tuple[Any, ...] | Above


def in_words(allowed: Allowed, show: Callable[[Any], str] = str) -> str:
    """What a condition allows, for messages: `a or b`, `above 0`."""
    return f"above {allowed.bound:g}" if isinstance(allowed, Above) else " or ".join(map(show, allowed))


@dataclass(frozen=True)
class Needs:
    """Marks a parameter that means something only while the parameter `parent` has one of `values`."""

    parent: str
    values: Allowed


class _FeatureFlag:
    """Marks a flag that switches on the feature group of its name in `lobmodels.features`."""


class _Later:
    """Marks a parameter that the first version did not have. At its default a configuration is what it was then, with
    the same key, stored states and checkpoints: `RunConfig.identity`."""


FEATURE_FLAG = _FeatureFlag()
LATER = _Later()
FeatureFlag = Annotated[bool, FEATURE_FLAG]
WithAttention = Needs("architecture", ("gru_attention",))
WithConvolution = Needs("input_block", ("convolution",))


class NetworkConfig(BaseModel):
    """The part of a configuration that shapes the network; an exported submission states these values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    architecture: Literal["gru", "lstm", "gru_attention"] = Field(
        "gru", description="the recurrent network; `gru_attention` lets every state look back at earlier ones"
    )
    input_block: Literal["none", "projection", "convolution"] = Field(
        "none",
        description="`projection`: linear layer, layer norm and dropout before the recurrence; `convolution`: the same "
        "over the last `conv_kernel` steps",
    )
    conv_kernel: Annotated[int, Field(ge=1, le=64), WithConvolution, LATER] = Field(
        5, description="steps that the convolution sees, the present one included"
    )
    head: Literal["linear", "mlp", "mlp_per_target"] = Field(
        "linear",
        description="`mlp`: one hidden layer of half the width; `mlp_per_target`: one for each target; `linear`: none",
    )
    hidden_size: Annotated[int, Field(ge=1, le=2048)] = Field(
        64, description="width of the recurrence; with attention a multiple of `attention_heads`"
    )
    num_layers: Annotated[int, Field(ge=1, le=8)] = Field(2, description="recurrent layers")
    dropout: Probability = Field(0.0, description="between recurrent layers, in the input block and in the mlp head")
    attention_heads: Annotated[int, Field(ge=1, le=64), WithAttention] = Field(4, description="heads of the attention")
    attention_window: Annotated[int, Field(ge=1), WithAttention] = Field(
        128, description="states a query sees, its own included, in training as online"
    )
    attention_dropout: Annotated[Probability, WithAttention] = Field(
        0.1, description="dropout of the attention weights"
    )


class RunConfig(NetworkConfig):
    """Parameter values of one run, without its seed. Immutable; unknown names are refused.

    Build it with `RunConfig.parse`, which reports every problem at once as a `ConfigError`.
    """

    # inputs; feature groups are appended in the order of their flags
    derived: FeatureFlag = Field(False, description="10 columns: spreads, pressures, trade intensity")
    temporal: Annotated[FeatureFlag, Needs("derived", (True,))] = Field(
        False, description="3 columns: changes of the spread, recent trade intensity"
    )
    interaction: FeatureFlag = Field(False, description="3 columns: products of prices and volumes")
    microstructure: FeatureFlag = Field(False, description="6 columns: order-flow imbalance and related changes")
    lag: FeatureFlag = Field(False, description="12 columns: changes over 1, 4 and 16 steps")
    rolling_mean: Annotated[FeatureFlag, LATER] = Field(
        False, description="24 columns: means over 5, 10, 20 and 40 steps of mid price, spread, volumes and trades"
    )
    rolling_delta: Annotated[FeatureFlag, LATER] = Field(
        False, description="24 columns: changes of the same over 5, 10, 20 and 40 steps"
    )
    normalizer: Literal["none", "zscore"] = Field("none", description="`zscore`: per column, fitted on the train rows")
    input_noise: NonNegative = Field(0.0, description="standard deviation of noise added to the inputs while training")
    feature_dropout: Probability = Field(
        0.0, description="chance that a column is set to 0 for a whole sequence while training"
    )
    # loss
    loss: Literal[
        "mse", "huber", "weighted_mse", "weighted_huber", "combined", "weighted_pearson", "pearson_combined"
    ] = Field("mse", description="what is minimised")
    huber_delta: Annotated[Positive, Needs("loss", ("huber", "weighted_huber"))] = Field(
        1.0, description="error beyond which the Huber loss is linear"
    )
    weighted_ratio: Annotated[float, Field(ge=0.0, le=1.0), Needs("loss", ("combined", "pearson_combined"))] = Field(
        0.5, description="share of the weighted MSE in the combined losses"
    )
    pearson_alpha: Annotated[float, Field(ge=0.0, le=1.0), Needs("loss", ("pearson_combined",))] = Field(
        0.6, description="share of the combined loss beside the correlation"
    )
    t0_weight: NonNegative = Field(1.0, description="weight of target t0; equal weights change nothing")
    t1_weight: NonNegative = Field(1.0, description="weight of target t1")
    target_clip: Annotated[NonNegative, LATER] = Field(
        0.0, description="the loss sees targets cut to plus and minus this, in its weights too; 0: as they are"
    )
    temporal_consistency: NonNegative = Field(0.0, description="weight of the penalty on errors of first differences")
    # optimiser
    lr: Positive = Field(1e-3, description="learning rate")
    weight_decay: NonNegative = Field(0.0, description="of AdamW")
    batch_size: Annotated[int, Field(ge=1)] = Field(192, description="sequences a step")
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(30, description="most epochs of a run")
    early_stopping: Annotated[int, Field(ge=1)] = Field(8, description="epochs without a better score that end a run")
    grad_clip: NonNegative = Field(1.0, description="largest gradient norm; 0: no clipping")
    ema_decay: Probability = Field(
        0.0, description="of the moving average of the weights, which is then validated and kept; 0: none"
    )
    ema_ramp: Annotated[bool, Needs("ema_decay", Above(0.0)), LATER] = Field(
        False, description="the decay grows to `ema_decay`, so that the first weights are soon forgotten"
    )
    swa_epochs: Annotated[int, Field(ge=0, le=64), LATER] = Field(
        0, description="the mean of the weights after this many last epochs is validated and kept; 0: none"
    )
    snapshots: Annotated[int, Field(ge=1, le=8), LATER] = Field(
        1, description="so many of the best epochs are kept; the run predicts the mean of their predictions"
    )
    epoch_per_target: Annotated[bool, LATER] = Field(
        False, description="each target has its own best epochs, by its own score"
    )
    scheduler: Literal["none", "plateau", "onecycle", "cosine"] = Field("plateau", description="of the learning rate")
    plateau_patience: Annotated[int, Field(ge=0), Needs("scheduler", ("plateau",))] = Field(
        3, description="epochs without a better score before the learning rate falls"
    )
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0), Needs("scheduler", ("plateau",))] = Field(
        0.5, description="by which it falls"
    )
    onecycle_peak: Annotated[float, Field(ge=1.0), Needs("scheduler", ("onecycle",))] = Field(
        10.0, description="highest learning rate as a multiple of `lr`"
    )
    warmup_epochs: Annotated[int, Field(ge=0), Needs("scheduler", ("cosine",))] = Field(
        1, description="epochs of linear warm-up"
    )
    amp: bool = Field(True, description="half precision on a GPU; the score is float32 all the same")

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        problems = [
            f"{name}={getattr(self, name)!r} needs {parent} to be {in_words(allowed)}, not {getattr(self, parent)!r}"
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

    @property
    def uses_dropout(self) -> bool:
        """Whether `dropout` changes anything: it is applied between layers, in input blocks and in MLP heads."""
        return self.num_layers > 1 or self.input_block != "none" or self.head != "linear"

    def active(self) -> dict[str, Any]:
        """The values that mean something in this run, defaults included, without those `REQUIRES` switches off.

        A plugin's feature group is named only where it is on or the configuration was given its flag: other studies of
        a process that has loaded the plugin must not mention it.
        """
        unnamed = set(own_feature_flags()) - set(self._own_groups()) - self.model_fields_set
        return {
            name: value
            for name, value in self.model_dump().items()
            if name not in REQUIRES or getattr(self, REQUIRES[name][0]) in REQUIRES[name][1]
            if name not in unnamed
        }

    def identity(self) -> dict[str, Any]:
        """The active values without those of `LATER` parameters at their default: what keys, states and checkpoints
        hold, so that those of earlier versions stay what they are."""
        fields = type(self).model_fields
        return {
            name: value
            for name, value in self.active().items()
            if LATER not in fields[name].metadata or value != fields[name].default
        }

    def key(self) -> str:
        """Twelve hex digits that name this configuration: equal for equal active values."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()

    def feature_groups(self) -> tuple[str, ...]:
        """Names of the feature groups that are switched on, in the order they are appended: plugins' behind the others,
        by name."""
        return (*(name for name in FEATURE_FLAGS if getattr(self, name)), *self._own_groups())

    def feature_settings(self) -> tuple[tuple[str, Any], ...]:
        """Parameters of the plugins' feature groups that are switched on, with their values, by name."""
        on = self._own_groups()
        return tuple(sorted((name, getattr(self, name)) for name, (parent, _) in REQUIRES.items() if parent in on))

    def _own_groups(self) -> tuple[str, ...]:
        """The plugins' feature groups that are switched on, by name. A configuration that was made before its process
        loaded a plugin has no value for the plugin's flag, and does not use it."""
        return tuple(name for name in own_feature_flags() if self.__dict__.get(name, False))


def _needs(metadata: list[Any]) -> tuple[str, Allowed] | None:
    return next(((mark.parent, mark.values) for mark in metadata if isinstance(mark, Needs)), None)


# A parameter on the left means something only while the one it names has one of these values. Study files, trial
# configurations and checkpoints all read this table, which is made from the marks above.
REQUIRES: dict[str, tuple[str, Allowed]] = {
    name: needs for name, field in RunConfig.model_fields.items() if (needs := _needs(field.metadata))
}
FEATURE_FLAGS = tuple(name for name, field in RunConfig.model_fields.items() if FEATURE_FLAG in field.metadata)
BUILT_IN = frozenset(RunConfig.model_fields)  # parameters that no plugin has declared


def own_feature_flags() -> tuple[str, ...]:
    """Flags of the feature groups that plugins have declared, in the order of their names."""
    fields = RunConfig.model_fields
    return tuple(sorted(name for name in fields if name not in BUILT_IN and FEATURE_FLAG in fields[name].metadata))


def _describe(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}={item['input']!r}: {message[0].lower()}{message[1:]}"
