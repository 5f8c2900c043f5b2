"""What a recipe says of how a model is trained, beside its optimizer, loss and scheduler."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, field_validator, model_validator

from recast.stages.base import Params, names_code
from recast.stages.common.called_with import CalledWith
from recast.stages.trunk.training import augment_names, torch_names

BY_BATCH = ("OneCycleLR", "CyclicLR", "ReduceLROnPlateau")
"""schedulers that do not step after each epoch, and cannot be part of a sequence"""
Augment = dict[str, dict[str, Any]]


class Phase(BaseModel):
    """One scheduler of several that follow each other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheduler: str = Field(
        description="a scheduler of torch.optim.lr_scheduler that steps after each epoch, in any case"
    )
    args: dict[str, Any] = Field(default={}, description="its keyword arguments")
    epochs: PositiveInt | None = Field(default=None, description="how many it is for; the last takes what is left")

    @field_validator("scheduler")
    @classmethod
    def _known(cls, name: str) -> str:
        found = torch_names.require(name, torch_names.SCHEDULERS)
        if found in BY_BATCH:
            raise ValueError(f"cannot be '{name}' in a sequence: it does not step after each epoch")
        return name

    @model_validator(mode="after")
    def _taken(self) -> Self:
        found = torch_names.find(self.scheduler, torch_names.SCHEDULERS) or ""
        try:
            torch_names.refuse_unknown(self.args, found, torch_names.SCHEDULERS)
        except ValueError as error:
            raise ValueError(f"args {error}") from error
        for needed in torch_names.NEEDED.get(found, ()):
            if needed not in self.args:
                raise ValueError(f"scheduler {found} needs '{needed}': write 'args: {{{needed}: …}}'")
        return self


class How(Params):
    """Params of `train`."""

    warmup_epochs: int = Field(
        default=0,
        ge=0,
        description="epochs in which lr rises evenly, batch by batch, before the scheduler",
    )
    schedule: list[Phase] = Field(
        default=[], description="several schedulers, one after the other, in place of scheduler (SequentialLR)"
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest 2-norm of all gradients together; larger ones are scaled down"
    )
    clip_value: float | None = Field(default=None, gt=0, description="largest absolute value of a gradient's element")
    class_weights: Literal["balanced"] | Annotated[list[FiniteFloat], Field(min_length=1)] | None = Field(
        default=None, description="weight of each class in the loss; balanced: rare classes weigh more, n / (K * count)"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of the model's operations while it trains (torch.autocast); weights stay float32",
    )
    augment: list[Augment] = Field(
        default=[],
        description="transforms of torchvision.transforms.v2, in order, which change train samples anew in every epoch",
    )
    function: Annotated[str, CalledWith(lambda params: ("model", "training"))] | None = Field(
        default=None, description="a function of your own that trains in place of all this, module:function"
    )

    @field_validator("augment")
    @classmethod
    def _transforms(cls, steps: list[Augment]) -> list[Augment]:
        for step in steps:
            if len(step) != 1:
                raise ValueError("must hold one transform each, as '- RandomHorizontalFlip: {p: 0.5}'")
            for name, arguments in step.items():
                augment_names.check(name, arguments)
        return steps

    @field_validator("function")
    @classmethod
    def _own(cls, name: str | None) -> str | None:
        if name is not None and not names_code(name):
            raise ValueError("must be 'module:function', for example 'models.training:fit'")
        return name

    @model_validator(mode="after")
    def _together(self) -> Self:
        epochs, scheduler = getattr(self, "epochs", 0), getattr(self, "scheduler", None)
        if self.warmup_epochs and self.warmup_epochs >= epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} leaves none of {epochs} epochs: raise epochs")
        if self.schedule and scheduler:
            raise ValueError("scheduler and schedule both say how the learning rate goes: keep one")
        ends = [phase.epochs for phase in self.schedule]
        if any(one is None for one in ends[:-1]):
            raise ValueError("schedule: only the last scheduler may leave out `epochs`")
        left = epochs - self.warmup_epochs
        if (used := sum(one or 0 for one in ends)) > left or (self.schedule and ends[-1] is None and used >= left):
            raise ValueError(f"schedule takes {used} epochs and more, and there are {left}: raise epochs")
        if self.class_weights is not None:
            _check_weighted(self)
        device = getattr(self, "device", "auto")
        if self.precision == "float16" and device in ("cpu", "mps"):
            raise ValueError(f"precision float16 is for cuda, not {device}: use bfloat16")
        return self


def _check_weighted(params: Any) -> None:
    if params.loss is not None and names_code(params.loss):
        raise ValueError("class_weights are for losses of torch.nn; your own loss can weigh by itself")
    if {"weight", "pos_weight"} & set(params.loss_args):
        raise ValueError("class_weights and loss_args both give weights: keep one")
    if params.task.name not in ("classification", "segmentation", "binary", "multilabel"):
        raise ValueError(f"class_weights: the task {params.task.name} has no classes")
