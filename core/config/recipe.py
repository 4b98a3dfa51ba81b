"""The recipe of a compression: a task, a network, a list of steps, and what the result must keep to.

Every key has a default, a unit and a range; unknown keys are refused with the near match.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from skerry.config.reading import read_toml
from skerry.config.scenario import TaskConfig
from skerry.errors import InputError

__all__ = [
    "BitsStep",
    "BudgetConfig",
    "DistilStep",
    "Int8Step",
    "PruneStep",
    "QatStep",
    "Recipe",
    "SourceConfig",
    "Step",
    "TrainStep",
    "load_recipe",
    "recipe_to_toml",
    "shipped_recipes",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
DOC = "docs/compression.md"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(_Section):
    """Which network is compressed: a declared one, or a graph in a file."""

    architecture: str = Field(
        "mobilenet_v2", description="a declared architecture; beside a file it says how pictures are normalised"
    )
    width: Annotated[float, Field(ge=0.1, le=4)] = Field(1.0, description="factor on the network's channels")
    input_size: Annotated[int, Field(ge=8, le=512)] = Field(32, description="pixels, square")
    file: Path | None = Field(None, description="a graph file, trained; in place of architecture, width and size")


class _Descent(_Section):
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(3, description="passes over the public data")
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Positive = Field(0.1, description="its highest value; a cosine leads down from it")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[int, Field(ge=0)] = Field(0, description="augmentation: pixels by which examples are moved")
    flip: bool = Field(False, description="augmentation: left and right may be exchanged")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="auto: bfloat16 where the processor has it; measure whether it is quicker"
    )


class TrainStep(_Descent):
    """Train on the labels of the public data."""

    kind: Literal["train"] = "train"


class DistilStep(_Descent):
    """Train on the outputs of the uncompressed network, or of a teacher in a file, beside the labels."""

    kind: Literal["distil"] = "distil"
    temperature: Positive = 4.0
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="of the teacher; the labels have the rest, so 1 needs none"
    )
    teacher: Path | None = Field(None, description="a graph file; without one, the uncompressed network")


class PruneStep(_Section):
    """Remove whole channels."""

    kind: Literal["prune"] = "prune"
    keep_macs: Share = Field(0.5, description="share of the multiply-accumulates that may stay")
    round_to: Annotated[int, Field(ge=1, le=64)] = Field(8, description="channels stay multiples of it")


class Int8Step(_Section):
    """Quantize weights and activations to eight bits after training."""

    kind: Literal["int8"] = "int8"
    calibration: Annotated[int, Field(ge=1)] = Field(256, description="public examples, spread over all of them")
    classifier: Literal["float", "int8"] = Field(
        "float", description="int8: the linear layers too; of a network of 1,000 classes they are half of the file"
    )


class BitsStep(_Section):
    """Give each layer's weights 2, 4, 6 or 8 bits: outputs move least for the bytes that the file may have."""

    kind: Literal["bits"] = "bits"
    keep_bytes: Share = Field(0.5, description="share that may stay of the same file with eight bits for every weight")
    size_kb: Positive | None = Field(None, description="bytes of the file, in 1000; in place of keep_bytes")
    calibration: Annotated[int, Field(ge=1)] = Field(256, description="public examples, spread over all of them")


class QatStep(_Descent):
    """Train the int8 network as it runs, on the labels and on the outputs of the uncompressed network."""

    kind: Literal["qat"] = "qat"
    learning_rate: Positive = Field(0.01, description="its highest value; small, for there are no norms any more")
    temperature: Positive = 4.0
    weight: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="of the teacher; the labels have the rest: 0 listens to labels alone, 1 needs none"
    )
    teacher: Path | None = Field(None, description="a graph file; without one, the uncompressed network")
    precision: Literal["float32"] = Field("float32", description="the only one in which int8 can be simulated")


Step = Annotated[TrainStep | DistilStep | PruneStep | Int8Step | BitsStep | QatStep, Field(discriminator="kind")]


class BudgetConfig(_Section):
    """What the result must keep to; nothing, if nothing is named."""

    size_kb: Positive | None = Field(None, description="bytes of the file that devices store, in 1000")
    latency_ms: Positive | None = Field(None, description="median of one call, one thread, on this machine")
    accuracy_drop: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="share of held-out examples that may be lost against the uncompressed network"
    )


class Recipe(_Section):
    """A compression from a trained or untrained network to files for devices."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = "compressed"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    task: TaskConfig = TaskConfig()
    model: SourceConfig = SourceConfig()
    steps: tuple[Step, ...] = Field(min_length=1, description="in the order in which they are taken")
    budget: BudgetConfig = BudgetConfig()

    @model_validator(mode="after")
    def _order(self) -> "Recipe":
        kinds = [step.kind for step in self.steps]
        if self.model.file is None and kinds[0] != "train":
            raise ValueError(
                f'steps: the network has random weights, so the first step must be "train", not "{kinds[0]}"; '
                "or name a trained one by model.file"
            )
        for last, allowed in (("int8", {"qat"}), ("bits", {"int8"})):
            behind = kinds[kinds.index(last) + 1 :] if last in kinds else []
            late = [kind for kind in behind if kind not in allowed]
            if late:
                raise ValueError(f'steps: "{late[0]}" changes the weights that "{last}" has rounded; put it before')
        if "qat" in kinds and "int8" not in kinds[: kinds.index("qat")]:
            raise ValueError('steps: "qat" trains on the scales of "int8"; put it behind')
        return self


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of a file, or a shipped one by name; paths in a file are relative to its folder.

    Raises:
        InputError: there is neither; names the shipped ones.
        ScenarioError: it is not TOML, or breaks the schema: names the key and the near match of an unknown one.
    """
    path = Path(name).expanduser()
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the recipe cannot be read: {error}", where=name) from error
        recipe = read_toml(Recipe, text, where=name, overrides=overrides, doc=DOC)
        return _with_paths(recipe, path.parent.resolve())
    shipped = shipped_recipes()
    if name not in shipped:
        raise InputError(
            "there is no such recipe file, and none of that name is shipped",
            where=name,
            mend=f"shipped are: {', '.join(shipped)}",
        )
    text = files("skerry.config").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    return _with_paths(read_toml(Recipe, text, where=f"recipe {name}", overrides=overrides, doc=DOC), Path.cwd())


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with skerry, sorted."""
    folder = files("skerry.config").joinpath("recipes")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def recipe_to_toml(recipe: Recipe) -> str:
    """The resolved recipe, every key with its value in force."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def _with_paths(recipe: Recipe, base: Path) -> Recipe:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    return recipe.model_copy(
        update={
            "task": recipe.task.model_copy(update={"root": absolute(recipe.task.root)}),
            "model": recipe.model.model_copy(update={"file": absolute(recipe.model.file)}),
            "steps": tuple(
                step.model_copy(update={"teacher": absolute(step.teacher)})
                if isinstance(step, DistilStep | QatStep)
                else step
                for step in recipe.steps
            ),
        }
    )
