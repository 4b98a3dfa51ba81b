"""The scenario: one frozen, typed description of a federation, from which every engine starts.

Every key has a default, a unit and a range; unknown keys are refused (see :mod:`skerry.config.loading`).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from skerry.config.adversarial import check_adversarial
from skerry.config.audit import check_audit
from skerry.config.buffered import check_buffered
from skerry.config.choosing import check_choosing
from skerry.config.device_level import check_device_level
from skerry.config.fairness import check_fairness
from skerry.config.scaffold import check_scaffold_settings
from skerry.config.training import OVER_INT8, check_training
from skerry.errors import InputError
from skerry.where import parse_where

__all__ = [
    "OVER_INT8",
    "AttackConfig",
    "CohortConfig",
    "DefenceConfig",
    "DeliveryConfig",
    "ModelConfig",
    "PrivacyConfig",
    "ReportConfig",
    "Scenario",
    "TaskConfig",
    "TrainingConfig",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
_LONGEST_ADAPTIVE = 0.3  # three times the top of the usual range


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class TaskConfig(_Section):
    """Which data: a shipped task, an entry point of group ``skerry.tasks``, or ``"package.module:Class"``."""

    name: str = "digits"
    root: Path | None = Field(
        None,
        description="image-folder: folder with one sub-folder per device; fashion: folder with the four IDX files; "
        "windows: a CSV or Parquet file, or a folder of them",
    )
    holdout: (
        str | Annotated[int, Field(strict=True, ge=0, le=4)] | Annotated[float, Field(gt=0, lt=1)] | tuple[str, ...]
    ) = Field(
        0.2,
        description="image-folder, watch, windows: which devices never train: a share of them, one name, several "
        "names, or the number of one of five folds",
    )
    public: str | None = Field(
        None,
        description="image-folder, watch, windows: the device whose examples are public (calibration, first head); "
        'digits: how public digits are made, "shrunk" (the default) or "prepared" as the private ones were',
    )
    channels: Literal[1, 3] = Field(3, description="pictures: 1 gives grey ones, 3 colour")
    devices: Annotated[int, Field(ge=1, le=1000)] = Field(20, description="fashion: devices that train")
    alpha: Positive = Field(
        0.3, description="fashion: Dirichlet concentration; the smaller, the fewer classes a device has"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="fashion: of the split over devices")
    public_examples: Annotated[int, Field(ge=0, le=50_000)] = Field(
        6000, description="fashion: how many of the 60,000 training pictures are public and on no device"
    )
    examples: Count | None = Field(None, description="fashion: at most that many pictures on each device")
    window: Annotated[int, Field(ge=8, le=4096)] = Field(128, description="watch, windows: readings in a window")
    stride: Annotated[int, Field(ge=1, le=4096)] = Field(
        64, description="watch, windows: readings from the beginning of a window to that of the next"
    )
    downsample: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="watch, windows: how many readings in a row are averaged into one that the network sees"
    )
    device_column: str = Field("device", description="windows: column that names the device")
    label_column: str = Field("label", description="windows: column that names the class")
    series_column: str | None = Field(None, description="windows: column that tells a device's recordings apart")
    time_column: str | None = Field(None, description="windows: column by which a recording's rows are ordered")
    columns: tuple[str, ...] | None = Field(
        None, min_length=1, description="windows: sensor columns; none for all that have no other meaning"
    )
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = Field(
        None, description="windows: subtracted from readings; one number, or one for each sensor column"
    )
    scale: tuple[Positive, ...] | None = Field(
        None, description="windows: divides readings; one number, or one for each sensor column"
    )
    classes: tuple[str, ...] | None = Field(
        None, description="windows: names of the classes; none for the labels that occur"
    )

    @model_validator(mode="after")
    def _whole_means(self) -> "TaskConfig":
        if self.window % self.downsample:
            raise ValueError(
                f"task.window = {self.window} is not a multiple of task.downsample = {self.downsample}: "
                f"set task.window = {self.window // self.downsample * self.downsample}"
            )
        return self


class ModelConfig(_Section):
    """Which network, which part of it is trained, and how it is stored on devices."""

    architecture: str = Field("efficientnet_lite0", description="a registered architecture")
    trainable: Literal["head", "tail", "bias", "lora", "qat", "full"] = Field(
        "head",
        description="head: linear head over frozen int8 features; tail: the last blocks and the head over them; "
        "bias: all biases and the head; lora: low-rank adapters over int8 weights, and the head; "
        "qat: every weight, seeing itself in int8; full: every weight in float32",
    )
    width: Annotated[float, Field(ge=0.1, le=4)] = Field(1.0, description="factor on the network's channels")
    tail_blocks: Annotated[int, Field(ge=1, le=64)] = Field(1, description="tail: how many of the last blocks")
    rank: Annotated[int, Field(ge=1, le=256)] = Field(4, description="lora: channels of each adapter")
    personal_head: bool = Field(
        False, description="each device keeps a last layer of its own; only the network before it is everybody's"
    )
    pretrain_epochs: Annotated[int, Field(ge=0, le=1000)] = Field(
        10, description="passes over labelled public data, for a network without published weights"
    )
    bits: Literal[8, 32] = Field(8, description="bits per weight of the frozen base")
    input_size: Annotated[int, Field(ge=8, le=512)] = Field(64, description="pixels, square")
    blocks: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="how many of the network's blocks are kept; what follows them is cut off. 0 keeps all of it"
    )
    grid: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="features are the means over grid × grid fields of the last map"
    )
    components: Annotated[int, Field(ge=2, le=1280)] = Field(
        128, description="dimensions kept by the whitening before the head, a PCA fitted on public data"
    )


class TrainingConfig(_Section):
    """What a device does in one round."""

    epochs: Annotated[int, Field(ge=1, le=100)] = Field(1, description="passes over the local data per round")
    learning_rate: Positive = 30.0
    batch_size: Annotated[int, Field(ge=0)] = Field(
        0, description="examples per step; 0 is the whole local data set (the only value under example-level DP)"
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    proximal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="μ of FedProx: pulls a device's steps towards the vector that the round started from"
    )
    scaffold: bool = Field(
        False,
        description="SCAFFOLD: steps are corrected by control variates, which a device keeps from round to round",
    )
    fairness: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0, description="q of q-FFL, 0 or at least 1: the larger, the more devices count on which the model does badly"
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: the learning rate falls to nothing over the rounds, along half a cosine"
    )
    gradient_clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="bound on the mean gradient of a step, L2, without privacy; 0 for none"
    )
    augment: Literal["none", "shift", "motion"] = Field(
        "none",
        description="small changes of each example each time it is seen: shift in place or time; motion: turned, "
        "stretched and scaled, for windows of three-axis sensors",
    )
    views: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="head: how many views of each example its gradient is the mean of, before it is clipped"
    )
    server_optimizer: Literal["fedavgm", "fedadam", "fedyogi", "fedadagrad"] = Field(
        "fedavgm", description="how the server moves the model by the aggregated delta"
    )
    server_learning_rate: Positive = Field(
        1.0, description="factor on the aggregated delta; of the adaptive optimizers about the size of a number's step"
    )
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the last rounds' steps that the server keeps: β of FedAvgM, β₁ of the adaptive ones"
    )
    server_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="fedadam, fedyogi: share of earlier rounds' squares that the server keeps (β₂)"
    )
    server_adaptivity: Annotated[float, Field(gt=0, le=1)] = Field(
        1e-3, description="fedadam, fedyogi, fedadagrad: below it a number's change counts as small (τ)"
    )
    server_average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of the mean of earlier models that each round keeps: about 1 / (1 - share) of them are "
        "averaged into what is evaluated and released; 0: the last model",
    )
    adversarial: Literal["none", "fgsm_rs", "n_fgsm", "free", "pgd", "trades"] = Field(
        "none", description="head, bias, lora, qat, full: learn from examples moved to where the network does worst"
    )
    adversarial_epsilon: Positive = Field(
        0.05,
        description="how far, as a share of the way from black to white; of windows, in standard deviations",
    )
    adversarial_norm: Literal["linf", "l2"] = Field("linf", description="each number at most so far, or all together")

    @model_validator(mode="after")
    def _steps_of_a_size_that_learns(self) -> "TrainingConfig":
        if self.server_optimizer != "fedavgm" and self.server_learning_rate > _LONGEST_ADAPTIVE:
            raise ValueError(
                f"with {self.server_optimizer} training.server_learning_rate is about the step of every number of the "
                f"model in every round, and {self.server_learning_rate:g} destroys it: set it to 0.01 "
                f"({_LONGEST_ADAPTIVE:g} at most)"
            )
        return self


class PrivacyConfig(_Section):
    """The guarantee asked for.

    ``example``: (ε, δ)-differential privacy of each device's data under adding or removing one example,
    over the whole run, against anybody who sees every message that leaves the device.

    ``device``: the same of everything that a whole device contributes, against anybody who sees the models of all
    rounds but not the updates: the coordinator adds the noise, and is trusted with them.
    """

    unit: Literal["example", "device", "none"] = "example"
    epsilon: Positive = Field(8.0, description="budget of each device for the whole run")
    delta: Annotated[float, Field(gt=0, lt=0.01)] = 1e-5
    clip: Positive = Field(0.5, description="bound on each example's gradient, or on each device's update, L2")
    mechanism: Literal["discrete_gaussian", "matrix_factorization"] = Field(
        "discrete_gaussian",
        description="device: independent noise each round, or noise that is correlated over rounds (DP-FTRL)",
    )
    factorization: Literal["banded", "buffered"] = Field("banded", description="matrix_factorization: of which kind")
    clip_quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="device: share of devices not to be clipped, which the clip follows; none for a fixed clip"
    )
    clip_budget: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="device: share of each round's privacy that counting the unclipped devices takes"
    )
    engine: Literal["skerry", "bookkeeping", "opacus"] = Field("skerry", description="what computes clipped gradients")
    denominator: Count = Field(
        128,
        description="public constant by which the noisy sum is divided: examples of a device, or devices of a round; "
        "never the true number",
    )
    sampling_rate: Annotated[float, Field(ge=1e-4, le=1)] = Field(
        1.0,
        description="probability with which each example takes part in a step (Poisson); an epoch has 1/rate steps",
    )
    budget: Positive | None = Field(None, description="ε of each data set over all runs; none for that of this run")
    ledgers: str | None = Field(
        None, description="folder of ledgers by data set, which go on from run to run; none for new ones in the run"
    )
    data: str | None = Field(
        None, description="name of the data set whose ledgers go on; none for the task's name and folder"
    )
    min_separation: Count = Field(1, description="rounds from one participation of a device to its next, at least")
    max_participations: Annotated[int, Field(ge=0)] = Field(
        0, description="rounds of all runs in which a data set takes part, at most; 0 for any number"
    )
    allow_large_delta: bool = Field(False, description="let δ be 1/n or more, n being the examples of a device")

    @model_validator(mode="after")
    def _budget_holds_the_run(self) -> "PrivacyConfig":
        if self.budget is not None and self.budget < self.epsilon:
            raise ValueError(f"the budget, {self.budget:g}, must be at least epsilon, {self.epsilon:g}")
        return self


class DefenceConfig(_Section):
    """How hostile updates are kept out."""

    aggregator: str = "nnm+trimmed_mean"
    tolerate: Annotated[int, Field(ge=0)] = Field(2, description="f: devices that may be hostile")
    screen: tuple[
        Literal[
            "finite",
            "shape",
            "fresh",
            "norm",
            "similarity",
            "novelty",
            "foreign",
            "root_set",
            "spectral",
            "clustering",
            "cosine",
        ],
        ...,
    ] = (
        "finite",
        "shape",
        "fresh",
        "norm",
        "similarity",
        "novelty",
        "foreign",
        "cosine",
    )
    root_set: Literal["auto", "off"] = Field(
        "auto",
        description="compare updates with the server's own on public examples: where there are enough of them and "
        "no privacy noise (auto), or only where screen names root_set (off)",
    )
    false_alarms: Annotated[float, Field(gt=0, le=0.2)] | None = Field(
        None,
        description="rate at which comparisons of devices with each other may flag an honest update, per device and "
        "round, learned from accepted ones; none for fixed limits",
    )
    remember: bool = Field(False, description="do not ask devices that earlier runs left in quarantine")


class AttackConfig(_Section):
    """Simulation only: which devices are compromised, and what they send."""

    kind: Literal[
        "none", "sign_flip", "scaling", "nan", "inf", "random", "gaussian", "clones", "label_flip", "backdoor"
    ] = "sign_flip"
    devices: Annotated[int, Field(ge=0)] = 2
    scale: Positive = Field(4.0, description="length of what is sent, or of its noise, over an honest update's")


class CohortConfig(_Section):
    """Who is asked in a round, and how long we wait."""

    sampling: Literal["all", "fixed", "poisson"] = "all"
    rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="poisson: probability with which each device takes part in a round, by itself"
    )
    size: Count | None = Field(None, description="fixed: devices per round")
    deadline_s: Positive = 600.0
    mode: Literal["rounds", "buffered"] = Field(
        "rounds",
        description="rounds: all answers are to one vector; buffered: devices work at their own pace (FedBuff)",
    )
    buffer: Count | None = Field(None, description="buffered: answers with which the server makes a step")
    concurrency: Count | None = Field(None, description="buffered: devices at work at a time, at most")
    staleness: Annotated[float, Field(ge=0, le=10)] = Field(
        0.5, description="buffered: a of the weight (1 + τ)^-a of an answer that is τ steps late"
    )
    max_staleness: Annotated[int, Field(ge=0, le=10_000)] = Field(
        20, description="buffered: steps beyond which an answer does not count"
    )
    tags: tuple[str, ...] = Field(
        (), description="fleet: only devices whose class or one of whose tags is among these; none: all"
    )
    where: str | None = Field(
        None, description="only devices that satisfy this condition are asked, looked at anew before each round"
    )
    over_select: Annotated[float, Field(ge=1, le=10)] = Field(
        1.0, description="fixed: times cohort.size devices are asked, and the first cohort.size answers count"
    )
    deadline_least_s: Positive | None = Field(
        None,
        description="fleet: a round waits as long as its classes needed before, at least so long; none: deadline_s",
    )
    spread_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        0.0, description="fleet: seconds over which a round's instructions are sent; 0: all at once"
    )
    at_least: Count = Field(1, description="fleet: devices that must have answered before the run begins")
    patience_s: Positive = Field(
        30.0, description="fleet: seconds without a new device after which the run begins with those that are there"
    )

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                parse_where(text)
            except InputError as error:
                raise ValueError(f"{error.what}: {error.mend}") from error
        return text

    @model_validator(mode="after")
    def _size_for_fixed(self) -> "CohortConfig":
        if (self.sampling == "fixed") != (self.size is not None):
            raise ValueError('cohort.size belongs to sampling = "fixed", and is needed there')
        if (self.sampling == "poisson") != (self.rate is not None):
            raise ValueError('cohort.rate belongs to sampling = "poisson", and is needed there')
        return self


class DeliveryConfig(_Section):
    """How messages and the final model are sealed."""

    suite: Literal["x25519", "p256", "xwing"] = "x25519"


class AuditConfig(_Section):
    """Simulation only: planted examples by which an audit tries to refute the privacy claim."""

    canaries: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="examples planted on each device, each put in by a fair coin; 0: no audit"
    )
    kind: Literal["crafted", "mislabelled", "natural"] = Field(
        "crafted",
        description="crafted: rows of features that show best, head only; "
        "mislabelled, natural: public examples under a wrong label, or their own",
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="of all lower bounds together")


class ReportConfig(_Section):
    """What is measured beside the run itself."""

    references: bool = Field(
        True,
        description="head: also run the same scenario without privacy, and without defence, for comparison",
    )


class Scenario(_Section):
    """A federation from data to delivered model."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = "digits"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="simulation: makes noise and sampling repeatable"
    )
    rounds: Annotated[int, Field(ge=1, le=100_000)] = 20
    task: TaskConfig = TaskConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    defence: DefenceConfig = DefenceConfig()
    attack: AttackConfig = AttackConfig()
    cohort: CohortConfig = CohortConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    audit: AuditConfig = AuditConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _combinations(self) -> "Scenario":
        check_device_level(self)
        check_buffered(self)
        check_scaffold_settings(self)
        check_fairness(self)
        check_choosing(self)
        check_training(self)
        check_adversarial(self)
        check_audit(self)
        return self
