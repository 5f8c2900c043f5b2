"""Train the model a recipe names, or take weights in place of training, and measure test accuracy.

Writes model.safetensors (the state dict of the last epoch, or of the best with early stopping) and
loss.csv (one row per epoch; no row when weights were given). Same inputs, params, code, environment
and kind of processor give the same bytes: seeds are fixed, the thread count is a param, and
operations that have no deterministic form are refused unless `deterministic` is off.
"""

from __future__ import annotations

import time
import traceback
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

from stages import pretrained, torch_names
from stages.base import (
    Device,
    Inputs,
    Metrics,
    ModelReference,
    Params,
    Plot,
    RepositoryPath,
    Resources,
    Stage,
    StageError,
    progress,
    record_timing,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from stages.dataset import Contract


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


class TrainParams(Params):
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
    loss: str = Field(
        default="cross_entropy", description="a loss of torch.nn over class labels: cross_entropy, nll, ..."
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
        if name is not None:
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
        return self


_TABLES = {"optimizer": torch_names.OPTIMIZERS, "loss": torch_names.LOSSES, "scheduler": torch_names.SCHEDULERS}


class Split(NamedTuple):
    """Samples as stored, (N, *shape), and labels, (N,) int64, as tensors."""

    x: torch.Tensor
    y: torch.Tensor


def run(params: TrainParams, inputs: Inputs, out: Path) -> Metrics:
    """Train or load, then measure accuracy on the test split.

    Raises StageError for an unknown optimizer, loss or scheduler, a device this machine lacks, a model
    that cannot be built or does not fit the data, unfit weights, and a loss that is not finite.
    """
    import torch

    from stages.dataset import read_contract
    from stages.model_class import build_model, failure
    from stages.weights import load_weights, write_weights

    torch.set_num_threads(params.resources.cpu)
    device = _device(params, inputs)
    torch.use_deterministic_algorithms(params.deterministic)
    contract = read_contract(inputs["data"])
    test = _split(inputs["data"], "test", contract)

    torch.manual_seed(params.seed)
    model = build_model(params.model)
    _check_fit(model, test, contract, params.model.name)
    given = _given_weights(params, inputs)
    if given is not None:
        load_weights(model, given, str(params.weights or params.pretrained))
        model.to(device)
        rows: list[str] = []
    else:
        model.to(device)
        started = time.monotonic()
        try:
            rows = _train(params, model, contract, inputs["data"], device)
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
    header = "epoch,train_loss,validation_loss,validation_accuracy"
    (out / "loss.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    accuracy, _ = _evaluate(model, test, contract, device, None)
    return {
        "accuracy": round(accuracy, 6),
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


def _split(directory: Path, split: str, contract: Contract) -> Split:
    import torch

    from stages.dataset import MADE_AGAIN, read_stored

    x, y = read_stored(directory, split)
    if not len(x):
        raise StageError(f"the {split} split is empty", MADE_AGAIN)
    return Split(torch.from_numpy(x), torch.from_numpy(y))


def _check_fit(model: nn.Module, test: Split, contract: Contract, name: str) -> None:
    """The model takes two samples and gives one score per class for each, which depend on nothing else."""
    import torch

    from stages import model_faults
    from stages.model_calls import running_layers
    from stages.model_class import failure

    model.eval()
    shape = tuple(test.x.shape[1:])
    with running_layers(model) as layers:
        try:
            with torch.inference_mode():
                # a batch of two even when the split holds one sample: some models squeeze a batch of one
                scores = model(_normalised(test.x[:1].expand(2, *shape), contract))
        except Exception as error:
            traceback.print_exc()
            said = str(error).partition("\n")[0]
            if "deterministic" in said:
                raise StageError(said.partition(", but")[0], "set train.deterministic to false") from error
            layer, kind = layers[-1]
            at = f" in layer '{layer}' ({kind})" if layer else ""
            raise StageError(
                f"{name} does not take samples of shape {shape}{at}: {failure(error)}",
                *_fitting(shape, contract, error),
            ) from error
    if not isinstance(scores, torch.Tensor):
        raise StageError(
            f"{name} returns {_a(type(scores).__name__)}, not scores (N, classes)",
            "return one float tensor alone, with a score for each class",
        )
    if not scores.is_floating_point():
        raise StageError(
            f"{name} returns {str(scores.dtype).removeprefix('torch.')} numbers, not scores (N, classes)",
            "return the scores themselves, as floats: no argmax, no classes, no complex numbers",
        )
    classes = len(contract.classes)
    if scores.ndim != 2 or scores.shape[0] != 2 or scores.shape[1] < classes:
        raise StageError(
            f"{name} maps 2 samples to {tuple(scores.shape)}; the data's {classes} classes need (2, {classes})",
            "give the model one output per class",
        )
    few = _normalised(test.x[:4], contract)
    if len(few) > 1:
        model_faults.refuse(model, few, name)
    model_faults.refuse_reads(model, few, name, model_faults.BRANCHES)


def _fitting(shape: tuple[int, ...], contract: Contract, error: Exception) -> tuple[str, ...]:
    """What brings a model and samples of this shape together: only an image has a size and channels to change."""
    if "scalar types: Long, Int" in str(error):
        return ("make whole numbers of the input in forward, with x.long(), since every model is given float32",)
    mend = "mend the model there"
    if not any(word in str(error) for word in ("shape", "size", "channel", "dimension")):
        return (mend,)
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


def _train(params: TrainParams, model: nn.Module, contract: Contract, data: Path, device: torch.device) -> list[str]:
    """Train in place; the rows of loss.csv."""
    import torch

    from stages.optimisation import make_loss, make_optimizer, make_schedule

    train = _split(data, "train", contract)
    validation = _split(data, "validation", contract) if (data / "validation.npz").exists() else None
    if params.early_stopping and validation is None:
        raise StageError(
            "early stopping needs a validation split", "set data.validation_fraction", "drop train.early_stopping"
        )
    decay = {} if params.weight_decay is None else {"weight_decay": params.weight_decay}
    optimizer = make_optimizer(params.optimizer, model, params.lr, params.optimizer_args | decay)
    loss_of = make_loss(params.loss, params.loss_args).to(device)
    batches = _batches(len(train.x), params.batch_size)
    schedule = None
    if params.scheduler:
        schedule = make_schedule(
            params.scheduler, optimizer, params.scheduler_args, params.lr, params.epochs, len(batches)
        )
    # whole tensors on the device: a batch is one gather, with no per-sample work and no worker processes
    train = Split(train.x.to(device), train.y.to(device))
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
            loss = loss_of(model(_normalised(train.x[chosen], contract)), train.y[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if schedule and schedule.every == "batch":
                schedule.scheduler.step()
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
            accuracy, watched = _evaluate(model, validation, contract, device, loss_of)
            row, line = f"{epoch},{train_loss:.6g},{watched:.6g},{accuracy:.6g}", f"{line}  accuracy {accuracy:.4f}"
        rows.append(row)
        progress(line, epoch * len(batches), params.epochs * len(batches))
        if schedule and schedule.every != "batch":
            schedule.scheduler.step(*([watched] if schedule.every == "plateau" else []))
        if params.early_stopping:
            if watched < best - params.early_stopping.min_delta:
                best, best_epoch = watched, epoch
                best_state = {name: value.detach().clone() for name, value in model.state_dict().items()}
            elif epoch - best_epoch >= params.early_stopping.patience:
                break
    if best_state:
        model.load_state_dict(best_state)
    return rows


def _batches(samples: int, batch_size: int) -> list[tuple[int, int]]:
    """Bounds of an epoch's batches; a last batch of one sample is left out, since BatchNorm cannot train on it."""
    bounds = [(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
    return bounds[:-1] if len(bounds) > 1 and batch_size > 1 and bounds[-1][1] - bounds[-1][0] == 1 else bounds


def _evaluate(
    model: nn.Module, split: Split, contract: Contract, device: torch.device, loss_of: nn.Module | None
) -> tuple[float, float]:
    """Share of samples whose largest score is their class, and the mean loss (0 without `loss_of`)."""
    import torch

    model.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        for x, y in zip(split.x.split(1000), split.y.split(1000), strict=True):
            scores, labels = model(_normalised(x.to(device), contract)), y.to(device)
            right += int((scores.argmax(1) == labels).sum())
            if loss_of is not None:
                loss += float(loss_of(scores, labels)) * len(x)
    return right / len(split.x), loss / len(split.x)


def _normalised(stored: torch.Tensor, contract: Contract) -> torch.Tensor:
    """What `Contract.normalise` does, on the tensor's device: the same operations in the same order."""
    import torch

    per_channel = (-1,) + (1,) * (stored.ndim - 2)
    mean = torch.tensor(contract.mean, device=stored.device).view(per_channel)
    std = torch.tensor(contract.std, device=stored.device).view(per_channel)
    return (stored.float() / contract.divisor - mean) / std


STAGE = Stage(
    params=TrainParams,
    run=run,
    inputs=("data",),
    plots=(Plot("loss.csv", x="epoch", y=("train_loss", "validation_loss"), title="Loss by epoch"),),
)
