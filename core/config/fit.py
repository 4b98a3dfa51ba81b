"""What ``skerry model fit`` searches, and within which limits."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from skerry.config.reading import read_toml
from skerry.config.scenario import TaskConfig

__all__ = ["FitConfig", "LimitsConfig", "fit_config"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LimitsConfig(_Section):
    """What a network must keep to on this machine."""

    latency_ms: Positive | None = Field(None, description="median of one call, one thread, onnxruntime")
    size_mb: Positive | None = Field(None, description="bytes of the file that devices store, in 1,000,000")
    margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.15, description="share of the latency limit that stays free, so that it holds when measured again"
    )


class FitConfig(_Section):
    """A search for the most accurate network within limits."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    architecture: str = Field("mobilenet_v2", description="a declared architecture")
    task: TaskConfig = TaskConfig()
    limits: LimitsConfig = LimitsConfig()
    widths: tuple[Annotated[float, Field(ge=0.1, le=4)], ...] = Field(
        (0.25, 0.35, 0.5, 0.75, 1.0), min_length=1, description="factors on the channels"
    )
    sizes: tuple[Annotated[int, Field(ge=8, le=512)], ...] = Field(
        (20, 24, 28, 32, 40, 48), min_length=1, description="pixels; without effect for windows"
    )
    keep: tuple[Share, ...] = Field(
        (0.7, 0.5, 0.35), description="shares of the work to which a network that does not fit is pruned"
    )
    forms: tuple[Literal["fp32", "int8", "bits"], ...] = Field(
        ("fp32", "int8", "bits"),
        min_length=1,
        description="how a network may be stored and run; bits: stored in 2 to 8 bits a weight, run in float32",
    )
    candidates: Annotated[int, Field(ge=1, le=64)] = Field(8, description="networks that begin to train")
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(8, description="passes over the public data in the end")
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 0.1


def fit_config(overrides: Iterable[str]) -> FitConfig:
    """The defaults with ``key=value`` overrides.

    Raises:
        ScenarioError: names the key and what is wrong with it.
    """
    return read_toml(FitConfig, "", where="model fit", overrides=overrides, doc="docs/compression.md")
