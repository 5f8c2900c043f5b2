"""What a model is for: what its outputs mean, what is true of a sample, and how well the one meets the other.

A recipe says it once, as `task:`; every stage that trains, imports or verifies asks the task, and knows none by name.
Recast's own are in `stages/tasks/`; those of plugins are named in entry points of the group `recast.tasks`. They are
looked for in the stage's own process, so that what one imports is in the stage's key. Nothing heavy is imported at the
top: the runner reads which metrics and losses a task has.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from recast.stages.base import Plot, ProjectCode, StageError, names_code
from recast.stages.common.spelling import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract
    from recast.stages.common.samples import Taken

GROUP = "recast.tasks"
_OWN = "recast.stages.tasks"
OWN = (
    *("classification", "binary", "multilabel", "regression", "reconstruction", "segmentation"),
    *("detection", "embedding", "none"),
)
DEFAULT = "classification"


@dataclass(frozen=True)
class Metric:
    """One number over all samples of a split."""

    name: str
    better: Literal["higher", "lower"] = "higher"
    is_share: bool = False
    """whether it lies between 0 and 1 and is shown as a percentage"""


class Options(BaseModel):
    """What a recipe may say of a task beside its name: nothing, unless a task has its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scorer:
    """Gathers what a task's metrics need, batch by batch."""

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        """Outputs (n, ...) of the model for x (n, *shape), its own input, and what is true of them."""
        raise NotImplementedError

    def metrics(self) -> dict[str, float]:
        """The task's metrics over all that came, those that these samples allow."""
        raise NotImplementedError


class NoScorer(Scorer):
    """Of a task in which nothing is true or false of a sample."""

    def update(self, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any]) -> None:
        """Nothing to gather."""

    def metrics(self) -> dict[str, float]:
        """None."""
        return {}


class AllOutputs:
    """A task's metrics, of the output that it reads; and one of the project's, if it names one, of all."""

    def __init__(self, inner: Scorer, judged: Callable[[Any], Any], own: str | None, project: ProjectCode) -> None:
        """`judged`: which of all outputs the task reads. Raises StageError if the project's cannot be imported."""
        from recast.stages.common import own_function

        self._inner, self._judged, self._own = inner, judged, own
        self._function = own_function.load(own, "task.metric", project) if own is not None else None
        self._seen: list[tuple[Taken, NDArray[Any] | None, Taken]] = []

    def update(self, outputs: Taken, truth: NDArray[Any] | None, x: Any) -> None:
        """All outputs (n, ...) of the model for x (n, *shape), every input of it, and what is true of them."""
        self._inner.update(self._judged(outputs), truth, x)
        if self._function is not None:
            self._seen.append((outputs, truth, x))

    def metrics(self) -> dict[str, float]:
        """All metrics over all that came, those that these samples allow."""
        if self._function is None or self._own is None:
            return self._inner.metrics()
        import traceback

        from recast.stages.common import samples

        outputs, truth, x = zip(*self._seen, strict=True)
        # where there are no labels, the input is what is true of an output
        made, true = (samples.joined(one) for one in (outputs, x if truth[0] is None else truth))
        try:
            found = float(self._function(*(getattr(one, "arrays", one) for one in (made, true))))
        except Exception as error:
            from recast.stages.common.torch_models import user_code

            traceback.print_exc()
            place = user_code.place_of(error)
            takes = "a dict of outputs (N, ...) by name" if isinstance(made, samples.Samples) else "outputs (N, ...)"
            raise StageError(
                f"the metric {self._own} fails: {type(error).__name__}: {error}" + (f" ({place})" if place else ""),
                f"let it take {takes} and labels (N, ...) as NumPy arrays and give one number",
            ) from error
        return {own_name(self._own): found, **self._inner.metrics()}


def own_name(reference: str) -> str:
    """What a metric of the project's is called."""
    return reference.partition(":")[2]


class Task:
    """A kind of model. A module of a task ends with `TASK = Subclass`."""

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]] = ()
    """the first is the one that tables show"""
    losses: ClassVar[tuple[str, ...]] = ()
    """losses of torch.nn that fit, the default first; empty where a recipe must name a function of its own"""
    needs_truth: ClassVar[bool] = True
    """whether data without labels is refused"""
    labels_pixels: ClassVar[bool] = False
    """whether a label is of a sample's pixels, and moves with them where an image is turned or cut"""
    takes_any: ClassVar[bool] = False
    """whether outputs of any kind and shape are compared: whole numbers, and those of a model that has no batch"""
    keeps_classes: ClassVar[bool] = False
    """whether a test sample of a class that no train sample has is a mistake"""
    names_one_class: ClassVar[bool] = False
    """whether the largest of the outputs, one for each class, is the answer"""
    plots: ClassVar[tuple[Plot, ...]] = ()
    """tables that `write` makes of the emitted model's outputs"""
    wanted: ClassVar[str] = "one tensor (N, ...)"
    """what a model must give, for messages"""
    mend_outputs: ClassVar[str] = "mend the model's last layer"
    """a remedy for outputs that do not fit"""
    Options: ClassVar[type[BaseModel]] = Options

    def __init__(self, options: Any, own_metric: str | None = None, output: str | int = 0) -> None:
        """`options`: an `Options` of the task's own class; `own_metric`: `module:function` of the project's.

        `output`: which of several outputs the task reads, by its name or its place.
        """
        self.options, self._own, self._output = options, own_metric, output

    def judged(self, outputs: Any) -> Any:
        """Of all outputs of a model, the one that the task reads. StageError if there is no such output."""
        from recast.stages.common.samples import Samples

        if not isinstance(outputs, Samples):
            self.judged_name(["output"])
            return outputs
        return outputs.arrays[self.judged_name(list(outputs.arrays))]

    def judged_name(self, names: Sequence[str]) -> str:
        """Of these outputs, the one that the task reads. StageError if there is no such output."""
        if isinstance(self._output, int) and self._output < len(names):
            return names[self._output]
        if isinstance(self._output, str) and self._output in names:
            return self._output
        if len(names) == 1:
            raise StageError(f"task.output is {self._output}, and the model has one output", "drop task.output")
        raise StageError(
            f"task.output is {self._output}, and the model's outputs are {', '.join(names)}",
            f"set task.output to one of them, or to its place, 0 to {len(names) - 1}",
        )

    def agreements(self, reference: Any, candidate: Any) -> float | None:
        """The least agreement over all outputs: the task's of its own, of the others how many samples are alike."""
        from recast.stages.common.samples import parts

        shown = [self.agreement(self.judged(reference), self.judged(candidate))]
        mine, others, made = self.judged(reference), parts(reference), parts(candidate)
        shown += [alike(one, made[name]) for name, one in others.items() if one is not mine]
        return None if any(share is None for share in shown) else min(share for share in shown if share is not None)

    @property
    def shown(self) -> str:
        """The metric that tables show; empty if nothing is measured by labels."""
        if self._own is not None:
            return own_name(self._own)
        return self.metrics[0].name if self.metrics else ""

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """The task's own, and the project's."""
        return self.metrics if self._own is None else (Metric(own_name(self._own)), *self.metrics)

    def scored(self, contract: Contract, project: ProjectCode) -> AllOutputs:
        """A new scorer of all metrics. Raises StageError if the project's own cannot be imported."""
        return AllOutputs(self.scorer(contract), self.judged, self._own, project)

    def truth(self, y: NDArray[Any] | None, what: str) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
        """Labels (N, ...) as read from `what` -> as they are kept, and the names of the classes, where there are any.

        Raises StageError for labels that are none of this task's.
        """
        raise NotImplementedError

    def strata(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """Whole numbers (N,) of which every split holds its share; None where samples are drawn without a look."""
        return None

    def trained_on(self, y: NDArray[Any] | None) -> NDArray[Any] | None:
        """Which samples (N,), as booleans, a model of this task is trained on; None for all."""
        return None

    def misfit(self, shape: Sequence[int], contract: Contract, truth: Sequence[int]) -> str:
        """Which outputs the task needs, if not of this shape (N, ...); empty if they fit. `truth`: shape of a label."""
        return ""

    def excess(self, shape: Sequence[int], contract: Contract) -> str:
        """What is more in outputs of this shape than the task can use, and no weights were given for; else empty."""
        return ""

    def loss_for(self, shape: Sequence[int]) -> str:
        """The default loss for outputs of this shape (N, ...)."""
        return self.losses[0] if self.losses else ""

    def pair(self, outputs: Any, y: Any, x: Any, loss: str) -> tuple[Any, Any]:
        """Tensors of PyTorch as the loss of that name takes them: outputs, and what they should be."""
        return outputs, y

    def scorer(self, contract: Contract) -> Scorer:
        """A new one."""
        return NoScorer()

    def agreement(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
        """To which share the candidate's outputs (N, ...) say what the reference's say; None if they cannot."""
        return within(reference, candidate)

    def write(
        self, out: Path, outputs: NDArray[Any], truth: NDArray[Any] | None, x: NDArray[Any], contract: Contract
    ) -> None:
        """Write the tables of `plots` of the emitted model's outputs (N, ...) for its inputs x (N, *shape).

        x may be no array: it is to be sliced, by `dataset.parts_of`, and need not fit in memory.
        """

    def meaning(self, contract: Contract) -> str:
        """What an output is, as a phrase for a README: `one score per class, in the order of ...`."""
        return "the values that the model computes"

    def answer(self, outputs: str, contract: str) -> str:
        """Python that makes an answer of the variable `outputs`; `contract`: the variable that holds input.json."""
        return outputs

    def says(self, output: NDArray[Any], x: NDArray[Any], contract: Contract) -> str:
        """What the output (...) for one sample x (*shape) says, in a few words for people."""
        return few_values(output)

    def truth_says(self, truth: NDArray[Any], contract: Contract) -> str:
        """What is true of one sample, by its label (...), in the same words."""
        return few_values(truth)

    def limits(self) -> dict[str, tuple[str, Literal["min", "max", "drop", "rise"]]]:
        """What `verify` may be told that the emitted model must reach: name of the limit -> of which metric, and how.

        `max_NAME_drop`, or `_rise`, is how much worse than the float model's the metric may be. Of a metric of the
        project's own, which way is better is not known: all four are limits.
        """
        found: dict[str, tuple[str, Literal["min", "max", "drop", "rise"]]] = {}
        for metric in self.all_metrics:
            own = self._own is not None and metric.name == own_name(self._own)
            if own or metric.better == "higher":
                found[f"min_{metric.name}"] = (metric.name, "min")
                found[f"max_{metric.name}_drop"] = (metric.name, "drop")
            if own or metric.better == "lower":
                found[f"max_{metric.name}"] = (metric.name, "max")
                found[f"max_{metric.name}_rise"] = (metric.name, "rise")
        return found


def few_values(values: NDArray[Any], most: int = 4) -> str:
    """The first of these numbers, and how many there are if that is not all."""
    flat = values.reshape(-1)
    shown = ", ".join(f"{value:.4g}" for value in flat[:most].tolist())
    return shown if len(flat) <= most else f"{shown}, … ({len(flat)} values)"


def class_name(classes: Sequence[str], index: int) -> str:
    """A class by its name, or its number where there is none: a model may have more outputs than the data classes."""
    return classes[index] if 0 <= index < len(classes) else str(index)


def within(reference: NDArray[Any], candidate: NDArray[Any], share: float = 0.1) -> float | None:
    """Fraction of samples whose outputs are off by no more than this share of their own size, in the Euclidean norm."""
    import numpy as np

    if reference.shape != candidate.shape:
        return None
    rows = reference.reshape(len(reference), -1).astype(np.float64)
    off = np.nan_to_num(candidate.reshape(len(rows), -1).astype(np.float64), nan=np.inf) - rows
    return float((np.linalg.norm(off, axis=1) <= share * np.linalg.norm(rows, axis=1)).mean())


def alike(reference: NDArray[Any], candidate: NDArray[Any]) -> float | None:
    """Fraction of samples whose outputs are the same, if they are whole numbers, or nearly, as `within` has it."""
    if reference.dtype.kind == "f" or reference.shape != candidate.shape:
        return within(reference, candidate)
    return float((reference == candidate).reshape(len(reference), -1).all(axis=1).mean())


def names() -> tuple[str, ...]:
    """Every task, Recast's own first, then those of installed plugins, sorted."""
    return (*OWN, *sorted({point.name for point in entry_points(group=GROUP)}.difference(OWN)))


def _known(name: str) -> str:
    if name not in OWN and name not in names():
        raise ValueError(f"cannot be '{name}'; {did_you_mean(name, names())}")
    return name


def _own(reference: str) -> str:
    if not names_code(reference):
        raise ValueError("must be 'module:function', for example 'models.metrics:mean_precision'")
    return reference


_KINDS = {"tuple": "a list", "int": "a whole number", "bool": "true or false", "float": "a number", "string": "text"}
"""how pydantic's type of an error begins -> what an option must be"""


class TaskReference(BaseModel):
    """The task a recipe names, with its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, AfterValidator(_known)] = Field(default=DEFAULT, description="classification, regression, ...")
    metric: Annotated[str, AfterValidator(_own)] | None = Field(
        default=None,
        description="a metric of your own, module:function of outputs and labels, NumPy arrays (N, ...), to a number",
    )
    output: str | Annotated[int, Field(ge=0)] = Field(
        default=0, description="which of several outputs the task reads, by its name or its place; unset: the first"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _options(self) -> TaskReference:
        options = _class(self.name).Options
        try:
            options.model_validate(self.model_extra or {})
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                option = ".".join(str(part) for part in detail["loc"])
                if detail["type"] == "extra_forbidden":
                    known = list(options.model_fields)
                    meant = did_you_mean(option, known) if known else "it takes none"
                    raise ValueError(f"{self.name} has no option '{option}'; {meant}") from error
                said = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
                wanted = _KINDS.get(detail["type"].partition("_")[0])
                said = f" must be {wanted}, not {detail['input']!r}" if wanted else f": {said}"
                raise ValueError(f"the option '{option}' of {self.name}{said}") from error
        return self

    @property
    def module(self) -> str:
        """The module that the task is, Recast's or a plugin's."""
        return (
            f"{_OWN}.{self.name}" if self.name in OWN else next(iter(entry_points(group=GROUP, name=self.name))).module
        )

    def load(self) -> Task:
        """The task, its module imported."""
        found = _class(self.name)
        return found(found.Options.model_validate(self.model_extra or {}), self.metric, self.output)

    def as_json(self) -> dict[str, Any]:
        """For input.json."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"output"} if self.output == 0 else None)


def of(said: Mapping[str, Any]) -> Task:
    """The task that input.json states. Raises StageError for one that is not there, as of a plugin not installed."""
    try:
        return TaskReference.model_validate(dict(said)).load()
    except ValidationError as error:
        raise StageError(
            f"the task '{said.get('name')}' is not known here", "install the plugin that brings it"
        ) from error


def _class(name: str) -> type[Task]:
    if name in OWN:
        found = importlib.import_module(f"{_OWN}.{name}").TASK
    else:
        found = next(iter(entry_points(group=GROUP, name=name))).load()
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ValueError(f"cannot be '{name}': the plugin's entry point leads to no Task; report it to its authors")
    return found
