"""Train the model a recipe names, or take weights in place of training, and measure the task's metrics on test.

Writes model.safetensors (the state dict of the last epoch, or of the best with early stopping) and
loss.csv (one row per epoch; no row when weights were given). Same inputs, params, code, environment
and kind of processor give the same bytes: seeds are fixed, the thread count is a param, and
operations that have no deterministic form are refused unless `deterministic` is off.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from recast.stages.base import (
    Device,
    Inputs,
    Metrics,
    ModelReference,
    Plot,
    ProjectCode,
    RepositoryPath,
    Resources,
    Stage,
    StageError,
    names_code,
    progress,
    record_timing,
)
from recast.stages.common import samples
from recast.stages.common.called_with import CalledWith
from recast.stages.tasks.task import AllOutputs, Task, TaskReference
from recast.stages.trunk.training import pretrained, torch_names
from recast.stages.trunk.training.how import How

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

    from recast.stages.common.dataset import Contract, Input


class EarlyStopping(BaseModel):
    """Stop when the validation loss no longer falls, and go back to the best epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    patience: int = Field(ge=1, description="epochs without a better validation loss before training stops")
    min_delta: float = Field(
        default=0.0, ge=0, description="how much lower a validation loss must be to count as better"
    )


WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
"""how the names of pretrained weights end"""


def _below_a_root(path: str) -> str:
    if not path or path.startswith(("/", "~")) or ".." in path.split("/") or "\\" in path or ":" in path:
        raise ValueError("must be a path below a data root, with forward slashes")
    if not path.lower().endswith(WEIGHTS):
        # it may be downloaded, and sources are looked up by file: a model's module, or the C that a target compiles
        raise ValueError(f"must be a file of weights, which ends in {', '.join(WEIGHTS)}")
    return path


_LOSS = CalledWith(lambda params: ("outputs", "labels"), lambda params: params.loss_args)


class TrainParams(How):
    """How the model gets its weights."""

    model: ModelReference = Field(description="the nn.Module, as module:Class")
    weights: RepositoryPath | None = Field(
        default=None, description="weights in place of training: .safetensors, or a state dict saved by torch.save"
    )
    pretrained: Annotated[str, AfterValidator(_below_a_root)] | None = Field(
        default=None, description="as weights, but a file below a data root; needs sha256"
    )
    url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="where the pretrained weights are downloaded from if no data root has them",
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{64}$", description="SHA-256 the weights file must have, 64 hex digits"
    )
    epochs: int = Field(default=10, ge=1, description="passes over the train split, at most")
    batch_size: int = Field(default=128, ge=1, description="samples per step")
    optimizer: str = Field(default="adam", description="an optimizer of torch.optim, in any case")
    optimizer_args: dict[str, Any] = Field(default={}, description="its keyword arguments other than lr")
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="learning rate, per step")
    weight_decay: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="weight decay; unset keeps the optimizer's own"
    )
    task: TaskReference = Field(default=TaskReference(), description="what the model is for")
    loss: Annotated[str, CalledWith(lambda params: ("outputs", "labels"), lambda params: params.loss_args)] | None = (
        Field(
            default=None,
            description="a loss of torch.nn that the task takes: cross_entropy, mse, ...; or a function of your own, "
            "module:function, of what the model returns and labels; unset: the task's own",
        )
    )
    loss_args: dict[str, Any] = Field(default={}, description="its keyword arguments, for example label_smoothing")
    scheduler: str | None = Field(default=None, description="a scheduler of torch.optim.lr_scheduler, in any case")
    scheduler_args: dict[str, Any] = Field(default={}, description="its keyword arguments")
    early_stopping: EarlyStopping | None = Field(default=None, description="needs a validation split")
    seed: int = Field(default=0, ge=0, description="seed of the initial weights, dropout and the order of samples")
    device: Device = Field(
        default="auto",
        description="where to train; auto is what `recast env device` says of the machine, cpu unless chosen",
    )
    deterministic: bool = Field(default=True, description="refuse operations that have no deterministic form")
    resources: Resources = Field(default=Resources(cpu=2), description="what the stage asks of the machine")

    @field_validator("optimizer", "loss", "scheduler")
    @classmethod
    def _known(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and not (info.field_name == "loss" and names_code(name)):
            torch_names.require(name, _TABLES[str(info.field_name)])
        return name

    @field_validator("optimizer_args", "loss_args", "scheduler_args")
    @classmethod
    def _taken(cls, args: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        of = str(info.field_name).removesuffix("_args")
        if of == "optimizer" and "lr" in args:
            raise ValueError("cannot hold 'lr'; give the learning rate as `lr`, not in optimizer_args")
        if of == "loss" and args.get("reduction", "mean") != "mean":
            raise ValueError("cannot hold a 'reduction' but 'mean'; drop it: mean is the default")
        # a name that was refused is not there
        torch_names.refuse_unknown(args, info.data.get(of) or "", _TABLES[of])
        return args

    @model_validator(mode="after")
    def _consistent(self) -> TrainParams:
        if self.weights and self.pretrained:
            raise ValueError("weights are given twice: `weights` lie in the repository, `pretrained` in a data root")
        if self.sha256 and not (self.weights or self.pretrained):
            raise ValueError("sha256 is that of a weights file: give `weights` or `pretrained`, or drop sha256")
        if self.pretrained and not self.sha256:
            raise ValueError("a data root is only a place: give the sha256 of the `pretrained` weights")
        if self.url and not self.pretrained:
            raise ValueError("url is that of `pretrained` weights: give their name below the data root, or drop url")
        if self.weight_decay is not None and "weight_decay" in self.optimizer_args:
            raise ValueError("weight_decay is given twice: drop it from optimizer_args")
        if self.scheduler_args and not self.scheduler:
            raise ValueError("scheduler_args without a scheduler: give `scheduler`, or drop them")
        found = torch_names.find(self.scheduler or "", torch_names.SCHEDULERS) or ""
        for needed in torch_names.NEEDED.get(found, ()):
            if needed not in self.scheduler_args:
                raise ValueError(f"scheduler {found} needs '{needed}': write 'scheduler_args: {{{needed}: …}}'")
        self._check_loss()
        return self

    def _check_loss(self) -> None:
        known = self.task.load().losses
        if self.loss is None:
            if not known and not (self.weights or self.pretrained or self.function):
                raise ValueError(
                    f"the task {self.task.name} has no loss of its own; name a function of yours, "
                    "'loss: module:function', which is given outputs and labels"
                )
            if not known and self.loss_args:
                raise ValueError("loss_args without a loss: give `loss`, or drop them")
            try:
                torch_names.refuse_unknown(self.loss_args, known[0] if known else "", torch_names.LOSSES)
            except ValueError as error:
                raise ValueError(f"loss_args {error}") from error
        elif not names_code(self.loss):
            found = torch_names.find(self.loss, torch_names.LOSSES)
            if found not in known:
                instead = ", ".join(known) or "a function of your own, module:function"
                raise ValueError(f"loss {found} is none of the task {self.task.name}, which takes {instead}")


_TABLES = {"optimizer": torch_names.OPTIMIZERS, "loss": torch_names.LOSSES, "scheduler": torch_names.SCHEDULERS}


class Split(NamedTuple):
    """Samples as stored, (N, *shape), a tensor for each of several inputs, and labels, (N, ...), as tensors."""

    x: Any
    y: torch.Tensor | None


def run(params: TrainParams, inputs: Inputs, out: Path) -> Metrics:
    """Train or load, then measure the task's metrics on the test split.

    Raises StageError for an unknown optimizer, loss or scheduler, a device this machine lacks, a model
    that cannot be built or does not fit the data, unfit weights, and a loss that is not finite.
    """
    import torch

    from recast.stages.common.dataset import read_contract
    from recast.stages.common.torch_models.model_class import build_model, failure
    from recast.stages.common.torch_models.weights import load_weights, write_weights

    torch.set_num_threads(params.resources.cpu)
    device = _device(params, inputs)
    torch.use_deterministic_algorithms(params.deterministic)
    contract = read_contract(inputs["data"])
    task = params.task.load()
    test = _split(inputs["data"], "test")

    torch.manual_seed(params.seed)
    model = build_model(params.model, inputs.project)
    shape = _check_fit(model, test, contract, task, params.model.name)
    given = _given_weights(params, inputs)
    if given is not None:
        load_weights(model, given, str(params.weights or params.pretrained))
        model.to(device)
        rows: list[str] = []
    else:
        if excess := task.excess(shape, contract):
            raise StageError(f"{params.model.name} {excess}", task.mend_outputs, "set task.spare_outputs to true")
        model.to(device)
        started = time.monotonic()
        try:
            by = _train_by_own if params.function else _train
            rows = by(params, model, contract, inputs, device, params.loss or task.loss_for(shape))
        except torch.OutOfMemoryError as error:
            raise StageError(f"{device} ran out of memory while training", "lower train.batch_size") from error
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # the model's or the loss's own
            traceback.print_exc()
            said = str(error).partition("\n")[0]
            if "deterministic" in said:
                elsewhere = "set train.device to cpu" if device.type != "cpu" else ""
                raise StageError(said.partition(", but")[0], elsewhere, "set train.deterministic to false") from error
            raise StageError(
                f"{params.model.name} fails while training: {failure(error)}",
                "mend the model there",
                "mend train.loss_args",
            ) from error
        record_timing("training", time.monotonic() - started)

    write_weights(model, out / "model.safetensors")
    header = f"epoch,train_loss,validation_loss,validation_{task.shown or 'metric'}"
    (out / "loss.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    measured, _ = _evaluate(model, test, contract, task.scored(contract, inputs.project), device, None)
    return {
        **{name: round(value, 6) for name, value in measured.items()},
        "test_samples": len(test.x),
        "epochs": len(rows),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": device.type,
    }


def _device(params: TrainParams, inputs: Inputs) -> torch.device:
    import torch

    name = inputs.device if params.device == "auto" else params.device
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        usable = ", ".join(device for device, usable in there.items() if usable)
        raise StageError(
            f"device {name} is not available here: PyTorch {torch.__version__} on this machine offers {usable}",
            "set train.device to cpu",
            f"run 'recast env device {name}', which installs PyTorch for it",
        )
    if name == "cuda" and params.deterministic:
        import os

        # cuBLAS is deterministic only with a fixed workspace, and reads its size from nowhere else
        # (docs.nvidia.com/cuda/cublas, "Results Reproducibility")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return torch.device(name)


def _split(directory: Path, split: str) -> Split:

    from recast.stages.common.dataset import MADE_AGAIN, read_samples

    x, y = read_samples(directory, split)
    if not len(x):
        raise StageError(f"the {split} split is empty", MADE_AGAIN)
    return Split(samples.each(x, _tensor), None if y is None else _tensor(y))


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """The array as it lies in its file, which is read-only, as nothing here writes to it."""
    import torch

    with warnings.catch_warnings(action="ignore"):  # that it is not writable
        return torch.from_numpy(array)


def _check_fit(model: nn.Module, test: Split, contract: Contract, task: Task, name: str) -> tuple[int, ...]:
    """The model takes two samples and gives for each what the task needs, of nothing else; that output's shape."""
    import torch

    from recast.stages.common.torch_models import signature
    from recast.stages.common.torch_models.model_class import failure
    from recast.stages.trunk.faults import model_faults
    from recast.stages.trunk.faults.model_calls import running_layers

    model.eval()
    signature.order(model, contract.names)
    shape = samples.shapes(test.x)
    with running_layers(model) as layers:
        try:
            with torch.inference_mode():
                # a batch of two even when the split holds one sample: some models squeeze a batch of one
                made = signature.call(model, normalised(test.x[[0, 0]], contract))
        except Exception as error:
            traceback.print_exc()
            said = str(error).partition("\n")[0]
            if "deterministic" in said:
                raise StageError(said.partition(", but")[0], "set train.deterministic to false") from error
            layer, kind = layers[-1]
            at = f" in layer '{layer}' ({kind})" if layer else ""
            raise StageError(
                f"{name} does not take samples of shape {shape}{at}: {failure(error)}",
                *_fitting(contract, error),
            ) from error
    scores = _judged(made, task, name)
    shown = tuple(scores.shape)
    needed = task.misfit(shown, contract, () if test.y is None else tuple(test.y.shape[1:]))
    if needed:
        raise StageError(f"{name} maps 2 samples to {shown}; {needed}", task.mend_outputs)
    if not shown or shown[0] != 2:
        raise StageError(f"{name} maps 2 samples to {shown}", "keep the batch as the first axis of the output")
    few = normalised(test.x[:4], contract)
    if len(few) > 1:
        model_faults.refuse(model, few, name)
    model_faults.refuse_reads(model, few, name, model_faults.BRANCHES)
    return shown


def _judged(made: Any, task: Task, name: str) -> torch.Tensor:
    """The output that the task reads, of what a model returned; StageError unless all are tensors of floats."""
    import torch

    from recast.stages.common.torch_models import signature

    if not isinstance(made, (torch.Tensor, tuple, list, Mapping)):
        raise StageError(
            f"{name} returns {_a(type(made).__name__)}, not {task.wanted}",
            f"return one float tensor alone: {task.wanted}",
            "return a tuple or a dict of float tensors, if there are several outputs",
        )
    found = signature.outputs(made)
    for of, value in samples.parts(found).items():
        if not value.is_floating_point():
            what = f"{task.wanted}" if not of else "floats"
            raise StageError(
                f"{name} returns {str(value.dtype).removeprefix('torch.')} numbers{f' as {of}' if of else ''}, not "
                f"{what}",
                "return the scores themselves, as floats: no argmax, no classes, no complex numbers",
            )
    scores: torch.Tensor = task.judged(found)
    return scores


def _fitting(contract: Contract, error: Exception) -> tuple[str, ...]:
    """What brings a model and the samples together: only an image has a size and channels to change."""
    if "scalar types: Long, Int" in str(error):
        return (
            "store the samples as int64, which the model is then given as they are",
            "make whole numbers of the input in forward, with x.long()",
        )
    mend = "mend the model there"
    if not any(word in str(error) for word in ("shape", "size", "channel", "dimension")):
        return (mend,)
    if len(contract.inputs) > 1:
        return (mend, "mend data.inputs")
    shape = contract.shape
    if len(shape) != 3:
        return (mend, f"store samples of the shape it takes in the file of data.path, in place of {shape}")
    if contract.dataset == "npz":
        return (mend, "set data.resize", "set data.layout to nhwc if the file has channels last")
    return (mend, "set data.resize", *(("set data.grayscale",) if shape[0] == 3 else ()))


def _a(kind: str) -> str:
    return "nothing" if kind == "NoneType" else f"a {kind}"


def _given_weights(params: TrainParams, inputs: Inputs) -> Path | None:
    """The weights file the recipe names, with the SHA-256 it states; None if it names none."""
    if params.pretrained:
        return pretrained.find(params.pretrained, params.url, str(params.sha256), inputs.data_roots)
    if not params.weights:
        return None
    if params.sha256:
        remedy = "fetch the right file, or correct train.sha256"
        pretrained.check_sha256(inputs.files["weights"], params.weights, params.sha256, remedy)
    return inputs.files["weights"]


def _train(
    params: TrainParams, model: nn.Module, contract: Contract, inputs: Inputs, device: torch.device, loss_name: str
) -> list[str]:
    """Train in place; the rows of loss.csv."""
    import torch

    from recast.stages.common.torch_models import signature
    from recast.stages.trunk.training.augmentation import Augmentation
    from recast.stages.trunk.training.optimisation import make_optimizer, make_schedule
    from recast.stages.trunk.training.steps import Steps, make_sequence, weighted

    task, data, project = params.task.load(), inputs["data"], inputs.project
    train, validation = _splits(data, task)
    if params.early_stopping and validation is None:
        raise StageError(
            "early stopping needs a validation split", "set data.validation_fraction", "drop train.early_stopping"
        )
    decay = {} if params.weight_decay is None else {"weight_decay": params.weight_decay}
    optimizer = make_optimizer(params.optimizer, model, params.lr, params.optimizer_args | decay)
    labels = None if train.y is None else train.y.numpy()
    weights = weighted(params.class_weights, loss_name, params.loss_args, labels, len(contract.classes))
    loss_of = _loss(loss_name, weights, task, project, device)
    batches = batches_of(len(train.x), params.batch_size)
    schedule = None
    after_warmup = params.epochs - params.warmup_epochs
    if params.scheduler:
        schedule = make_schedule(
            params.scheduler, optimizer, params.scheduler_args, params.lr, after_warmup, len(batches)
        )
    elif params.schedule:
        schedule = make_sequence(params.schedule, optimizer, params.lr, after_warmup)
    steps = Steps(params, optimizer, schedule, len(batches), device)
    if params.augment and len(contract.inputs) > 1:
        raise StageError(
            f"train.augment changes the one input of a model, and this one takes {', '.join(contract.names)}",
            "change them in forward, while self.training is true",
            "drop train.augment",
        )
    augment = Augmentation(params.augment) if params.augment else None
    # whole tensors on the device: a batch is one gather, with no per-sample work and no worker processes
    train = Split(_to(train.x, device), None if train.y is None else train.y.to(device))
    order = torch.Generator().manual_seed(params.seed)

    rows: list[str] = []
    best, best_epoch, best_state = float("inf"), 0, dict[str, Any]()
    shown = time.monotonic()
    for epoch in range(1, params.epochs + 1):
        model.train()
        total = torch.zeros((), device=device)
        permutation = torch.randperm(len(train.x), generator=order).to(device)
        for step, (start, stop) in enumerate(batches, 1):
            chosen = permutation[start:stop]
            _fetch(train.x, chosen)
            stored, y = train.x[chosen], None if train.y is None else train.y[chosen]
            if augment:
                stored, y = augment(stored, y, has_masks=task.labels_pixels)
            x = normalised(stored, contract)
            with steps.precision():
                loss = loss_of(signature.call(model, x), y, x)
            steps.take(loss)
            total += loss.detach() * (stop - start)
            # reading the loss waits for an accelerator, so only for a line now and then
            if time.monotonic() - shown > 1:
                shown = time.monotonic()
                done, of = (epoch - 1) * len(batches) + step, params.epochs * len(batches)
                progress(f"epoch {epoch}/{params.epochs}  loss {float(loss.detach()):.4f}", done, of)
        train_loss = float(total) / batches[-1][1]
        if train_loss != train_loss or train_loss == float("inf"):
            raise StageError(
                f"the loss is {train_loss} in epoch {epoch} of {params.epochs}",
                f"lower train.lr (it is {params.lr:g})",
                "set data.mean and data.std to those of the samples",
            )

        row, line = f"{epoch},{train_loss:.6g},,", f"epoch {epoch}/{params.epochs}  loss {train_loss:.4f}"
        watched = train_loss
        if validation is not None:
            measured, watched = _evaluate(model, validation, contract, task.scored(contract, project), device, loss_of)
            row = f"{epoch},{train_loss:.6g},{watched:.6g},"
            if task.shown in measured:
                row, line = f"{row}{measured[task.shown]:.6g}", f"{line}  {task.shown} {measured[task.shown]:.4f}"
        rows.append(row)
        progress(line, epoch * len(batches), params.epochs * len(batches))
        steps.after_epoch(watched)
        if params.early_stopping:
            if watched < best - params.early_stopping.min_delta:
                best, best_epoch = watched, epoch
                best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
            elif epoch - best_epoch >= params.early_stopping.patience:
                break
    if best_state:
        model.load_state_dict(best_state)
    return rows


def _train_by_own(
    params: TrainParams, model: nn.Module, contract: Contract, inputs: Inputs, device: torch.device, loss_name: str
) -> list[str]:
    """Have a function of the project's train in place; the rows of loss.csv."""
    import torch

    from recast.stages.common import own_function
    from recast.stages.trunk.training.own_training import Training, fit

    task, data, project, name = params.task.load(), inputs["data"], inputs.project, str(params.function)
    function = own_function.load(name, "train.function", project)
    train, validation = _splits(data, task)
    # a function may compute its loss by itself, whatever the task
    loss_of = _loss(loss_name, params.loss_args, task, project, device) if loss_name else None
    order = torch.Generator().manual_seed(params.seed)
    rows: list[str] = []

    def batches() -> Iterator[tuple[Any, torch.Tensor | None]]:
        model.train()
        permutation = torch.randperm(len(train.x), generator=order)
        for start, stop in batches_of(len(train.x), params.batch_size):
            chosen = permutation[start:stop]
            _fetch(train.x, chosen)
            y = None if train.y is None else train.y[chosen].to(device)
            yield normalised(_to(train.x[chosen], device), contract), y

    def end_epoch(train_loss: float) -> float:
        epoch, watched, measured = len(rows) + 1, float(train_loss), dict[str, float]()
        if validation is not None:
            scorer = task.scored(contract, project)
            measured, watched = _evaluate(model, validation, contract, scorer, device, loss_of)
        loss = f"{watched:.6g}" if validation is not None and loss_of else ""
        shown = f"{measured[task.shown]:.6g}" if task.shown in measured else ""
        rows.append(f"{epoch},{float(train_loss):.6g},{loss},{shown}")
        progress(f"epoch {epoch}/{params.epochs}  loss {float(train_loss):.4f}", epoch, params.epochs)
        return watched

    training = Training(
        epochs=params.epochs,
        batch_size=params.batch_size,
        lr=params.lr,
        seed=params.seed,
        device=device,
        loss=loss_of or _no_loss,
        batches=batches,
        end_epoch=end_epoch,
    )
    fit(function, name, model, training, rows)
    return rows


def _no_loss(outputs: Any, y: Any, x: Any) -> torch.Tensor:
    raise StageError("the task has no loss of its own", "name one as train.loss", "compute it in train.function")


def batches_of(samples: int, batch_size: int) -> list[tuple[int, int]]:
    """Bounds of an epoch's batches; a last batch of one sample is left out, since BatchNorm cannot train on it."""
    bounds = [(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
    return bounds[:-1] if len(bounds) > 1 and batch_size > 1 and bounds[-1][1] - bounds[-1][0] == 1 else bounds


def _splits(data: Path, task: Task) -> tuple[Split, Split | None]:
    """What is trained on, and the validation split if the data has one."""
    train = _trained_on(_split(data, "train"), task)
    return train, _split(data, "validation") if (data / "validation.npz").exists() else None


def _trained_on(split: Split, task: Task) -> Split:
    """The samples that a model of the task is trained on."""
    import torch

    kept = task.trained_on(None if split.y is None else split.y.numpy())
    if kept is None or kept.all():
        return split
    mask = torch.from_numpy(kept)
    return Split(split.x[mask], None if split.y is None else split.y[mask])


Loss = Callable[[Any, "torch.Tensor | None", Any], "torch.Tensor"]
"""of what the model returned, labels and the model's input, or inputs by name"""


def _loss(name: str, args: Mapping[str, Any], task: Task, project: ProjectCode, device: torch.device) -> Loss:
    """The loss of that name: one of torch.nn, of what the task pairs, or one of the project's."""
    from recast.stages.common import own_function
    from recast.stages.common.torch_models import signature
    from recast.stages.trunk.training.loss_fit import FirstBatch
    from recast.stages.trunk.training.optimisation import make_loss

    if names_code(name):
        return own_loss(own_function.load(name, "train.loss", project), args, name)
    torchs = make_loss(name, args).to(device)
    kind = type(torchs).__name__
    first = FirstBatch(kind)

    def loss(made: Any, y: torch.Tensor | None, x: Any) -> torch.Tensor:
        given, wanted = task.pair(task.judged(signature.outputs(made)), y, x, kind)
        first.check(given)
        found: torch.Tensor = torchs(given, wanted)
        return found

    return loss


def own_loss(function: Callable[..., Any], arguments: Mapping[str, Any], name: str) -> Loss:
    """A loss of the project's: a function of outputs and labels, or an nn.Module class of `arguments` that is one."""
    import inspect

    import torch
    from torch import nn

    is_class = inspect.isclass(function) and issubclass(function, nn.Module)
    called, arguments = (function(**arguments), {}) if is_class else (function, arguments)

    def loss(outputs: Any, y: torch.Tensor | None, x: Any) -> torch.Tensor:
        # without labels, a sample is what the output should be like
        made = called(outputs, getattr(x, "arrays", x) if y is None else y, **arguments)
        if not isinstance(made, torch.Tensor) or made.ndim:
            found = f"shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise StageError(f"the loss {name} gives {found}, not one number", "return the mean over the batch")
        return made

    return loss


def _evaluate(
    model: nn.Module, split: Split, contract: Contract, scorer: AllOutputs, device: torch.device, loss_of: Loss | None
) -> tuple[dict[str, float], float]:
    """What the scorer measures, and the mean loss (0 without `loss_of`)."""
    import torch

    from recast.stages.common.torch_models import signature

    model.eval()
    loss = 0.0
    with torch.inference_mode():
        for start in range(0, len(split.x), 1000):
            x = normalised(_to(split.x[start : start + 1000], device), contract)
            y = None if split.y is None else split.y[start : start + 1000]
            made = signature.call(model, x)
            truth = None if y is None else y.numpy()
            outputs = samples.each(signature.outputs(made), lambda one: one.float().cpu().numpy())
            scorer.update(outputs, truth, samples.each(x, lambda one: one.cpu().numpy()))
            if loss_of is not None:
                loss += float(loss_of(made, None if y is None else y.to(device), x)) * len(x)
    return scorer.metrics(), loss / len(split.x)


def _to(x: Any, device: torch.device) -> Any:
    return samples.each(x, lambda one: one.to(device))


def _fetch(x: Any, chosen: torch.Tensor) -> None:
    """Have the samples of a batch read from disk, as far as they lie there."""
    from recast.stages.common import npz_files

    for one in samples.parts(x).values():
        if one.device.type == "cpu":
            npz_files.fetch(one.numpy(), chosen.numpy())


def normalised(stored: Any, contract: Contract) -> Any:
    """What `Contract.normalise` does, on the tensors' device: the same operations in the same order."""
    given = samples.named(stored, contract.names)
    return samples.of({one.name: _normalised(given[one.name], one) for one in contract.inputs})


def _normalised(stored: torch.Tensor, of: Input) -> torch.Tensor:
    import torch

    if not of.is_float:
        return stored
    per_channel = (-1,) + (1,) * max(stored.ndim - 2, 0)
    mean = torch.tensor(of.mean, device=stored.device).view(per_channel)
    std = torch.tensor(of.std, device=stored.device).view(per_channel)
    return ((stored.float() / of.divisor - mean) / std).to(getattr(torch, of.dtype))


STAGE = Stage(
    params=TrainParams,
    run=run,
    inputs=("data",),
    plots=(Plot("loss.csv", x="epoch", y=("train_loss", "validation_loss"), title="Loss by epoch"),),
    in_summary=True,
)
