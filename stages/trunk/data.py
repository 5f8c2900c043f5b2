"""Read a dataset, split it, and hand it on as arrays with the input contract (`stages/common/dataset.py`).

Writes train.npz, validation.npz (unless validation_fraction is 0), test.npz, calibration.npz and
input.json. What labels may be, and whether there must be any, the task says. The samples of a split lie in an order
fixed by the seed, classes mixed, so the first few of a split are a fair sample of it. Nothing is normalised here: uint8
stays uint8.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from recast.stages import datasets
from recast.stages.base import Inputs, Metrics, RepositoryPath, Stage, StageError, progress
from recast.stages.common import samples
from recast.stages.common.untrusted import memory_limit
from recast.stages.tasks.task import Task, TaskReference
from recast.stages.trunk.own_data import OwnData
from recast.stages.trunk.preparation import (
    Binarise,
    Dtype,
    Grayscale,
    Layout,
    Mean,
    Preparation,
    Resize,
    Std,
    described,
    prepare,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.npz_files import Written
    from recast.stages.common.samples import Taken
    from recast.stages.trunk.sources import Source
    from recast.stages.trunk.sources.spilled import Rows

INPUT = "x"
"""the name of an only input, where the recipe names none"""
NO_INPUTS = ("y", "classes", "split", "groups")
"""arrays of an npz that say something of samples"""
KNOWN_SHA256 = {
    "digits": "4762797d5258adf159cb47b90648706ca1fdc489e3ad64710e18636c2f2db4db",
    "cifar10_images": "6a457960ffd7329bc24612abbd03ce3c25437617d06d588b2c73d9fb59666bfa",
}
"""SHA-256 of the decoded arrays (`sources/identity.py`), measured with scikit-learn 1.9.1 and torchvision 0.28.0"""


ORIGINAL = {
    "digits": "build the environment of scikit-learn again: 'recast env build torch'",
    "cifar10_images": "put the original images there",
}
"""how to have the samples again of which KNOWN_SHA256 tells"""


CHANNELS = {"digits": 1, "mnist": 1, "fashion_mnist": 1, "cifar10": 3, "cifar10_images": 3}
"""dataset -> channels of its samples; those of image_folder and npz are not known before they are read"""


CALIBRATION_SAMPLES = 512
"""taken where the recipe names no number and there are enough"""


if TYPE_CHECKING:
    Dataset = str
else:
    Dataset = Literal[datasets.names()]


class DataParams(OwnData):
    """Which samples, and how they become the model's input."""

    dataset: Annotated[Dataset, datasets.NamesDataset()] = Field(
        description="a known dataset, or one of your own: image_folder, npz, table or wav_folder at `path`, or python"
    )
    task: TaskReference = Field(default=TaskReference(), description="what the model is for")
    path: RepositoryPath | None = Field(
        default=None,
        description="folder of image_folder or wav_folder, file of npz or table, or what python's function is given",
    )
    inputs: dict[str, Preparation] = Field(
        default={},
        description="for npz and python: the arrays that are the model's inputs, by name, and how each is prepared; "
        "unset: x alone, prepared as said beside this",
    )
    layout: Layout = "nchw"
    grayscale: Grayscale = False
    resize: Resize = None
    binarise: Binarise = False
    mean: Mean = 0.0
    std: Std = 1.0
    dtype: Dtype = None
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share held out for test, where the dataset has no test split of its own"
    )
    validation_fraction: float = Field(default=0.1, ge=0, lt=1, description="share of train held out for validation")
    train_samples: PositiveInt | None = Field(
        default=None, description="train samples kept, before validation is split off; unset keeps all"
    )
    test_samples: PositiveInt | None = Field(default=None, description="test samples kept; unset keeps all")
    calibration_samples: PositiveInt | None = Field(
        default=None, description="train samples also written for calibration; unset: 512, or all where there are fewer"
    )
    calibration: Literal["proportional", "balanced", "random"] = Field(
        default="proportional",
        description="how calibration samples are drawn: classes in their proportions, as many of each, or regardless",
    )
    seed: int = Field(default=0, ge=0, description="seed of splits, limits and order")

    @field_validator("mean", "std")
    @classmethod
    def _fits(cls, value: float | list[float], info: ValidationInfo) -> float | list[float]:
        """One value, or one per channel, as far as the channels are known; `_per_channel` sees to the rest."""
        dataset, grayscale = info.data.get("dataset"), info.data.get("grayscale", False)
        channels = 1 if grayscale else CHANNELS.get(str(dataset))
        if isinstance(value, list) and channels is not None and len(value) not in (1, channels):
            of = f"{dataset} in grey has" if grayscale else f"{dataset} has"
            have = "1 channel" if channels == 1 else f"{channels} channels"
            raise ValueError(f"has {len(value)} values, but {of} {have}; give one value, or one per channel")
        return value

    @field_validator("inputs")
    @classmethod
    def _free(cls, inputs: dict[str, Preparation]) -> dict[str, Preparation]:
        for name in inputs:
            if not name or "/" in name or name in NO_INPUTS or name.endswith(("_train", "_test")):
                raise ValueError(
                    f"cannot hold '{name}': {', '.join(NO_INPUTS)} and names that end in _train or _test are of others"
                )
        return inputs

    @model_validator(mode="after")
    def _consistent(self) -> DataParams:
        own = self.dataset in ("image_folder", "npz", "table", "wav_folder")
        if own and self.path is None:
            raise ValueError(f"dataset {self.dataset} needs a `path` in the repository")
        if not own and self.dataset != "python" and self.path is not None:
            raise ValueError(f"dataset {self.dataset} takes no `path`: drop it, or use image_folder or npz")
        if self.dataset not in ("npz", "python") and self.layout != "nchw":
            raise ValueError("`layout` is for npz; other datasets know theirs")
        if self.inputs and self.dataset not in ("npz", "python"):
            raise ValueError("`inputs` is for npz and python; other datasets have one input")
        if self.dataset in CHANNELS and self.task.load().labels_pixels:
            raise ValueError(
                f"dataset {self.dataset} has a label for each image, and the task {self.task.name} needs one for each "
                "pixel: use image_folder with masks, or npz"
            )
        beside = [name for name in Preparation.model_fields if self.inputs and self._is_set(name)]
        if beside:
            raise ValueError(
                f"`inputs` says how each input is prepared: move `{beside[0]}` there, as in 'inputs: {{NAME: "
                f"{{{beside[0]}: …}}}}'"
            )
        return self

    @property
    def layouts(self) -> str | dict[str, str]:
        """Of x, or of each of several inputs."""
        return {name: one.layout for name, one in self.inputs.items()} or self.layout

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != Preparation.model_fields[name].default)

    @property
    def preparations(self) -> dict[str, tuple[Preparation, str]]:
        """Of every input by its name, and where a recipe says so."""
        if self.inputs:
            return {name: (one, f"data.inputs.{name}") for name, one in self.inputs.items()}
        own = Preparation(**{name: getattr(self, name) for name in Preparation.model_fields})
        return {INPUT: (own, "data")}


def run(params: DataParams, inputs: Inputs, out: Path) -> Metrics:
    """Read, check, split and write.

    Raises StageError for data that is absent, damaged or malformed, each naming what was found, and
    for counts, fractions or per-channel values that do not fit it.
    """
    import numpy as np

    from recast.stages.common import npz_files
    from recast.stages.common.dataset import Contract
    from recast.stages.trunk import calibration, drawn
    from recast.stages.trunk.sources import identity, splits

    with memory_limit(params.path or params.dataset, "give fewer samples, or smaller ones", "close other programs"):
        source = _read(params, inputs)
    sha256 = identity.of(source)
    if KNOWN_SHA256.get(params.dataset, sha256) != sha256:
        raise StageError(
            f"{params.dataset} is not the dataset this pipeline knows: SHA-256 {sha256}, expected "
            f"{KNOWN_SHA256[params.dataset]}",
            ORIGINAL[params.dataset],
        )

    source = splits.stated(
        source, params.test_fraction, params.validation_fraction, params.seed, params.path or params.dataset
    )
    task = params.task.load()
    labelled = _labelled(source, task, params)
    strata = [task.strata(labels) for labels in (labelled.y, labelled.y_test)]
    # each purpose draws from its own stream, so that changing one leaves the others as they were
    streams = [np.random.default_rng([params.seed, purpose]) for purpose in range(5)]
    kept = np.arange(len(source.x))
    picked: dict[str, NDArray[np.intp]] = {}
    if source.x_test is None:
        held_out = drawn.pick(kept, strata[0], drawn.share(params.test_fraction, len(kept), "test"), streams[0])
        kept, test, test_strata = drawn.without(kept, held_out), held_out, strata[0]
    else:
        test, test_strata = np.arange(len(source.x_test)), strata[1]
    picked["test"] = drawn.pick(test, test_strata, drawn.limit(params.test_samples, len(test), "test"), streams[1])
    kept = drawn.pick(kept, strata[0], drawn.limit(params.train_samples, len(kept), "train"), streams[2])
    if (stated := splits.of(source, "validation", kept)) is not None:
        picked["validation"] = stated
        kept = drawn.without(kept, stated)
    elif params.validation_fraction and source.split is None:
        count = drawn.share(params.validation_fraction, len(kept), "validation")
        picked["validation"] = drawn.pick(kept, strata[0], count, streams[3])
        kept = drawn.without(kept, picked["validation"])
    own_calibration = splits.of(source, "calibration", kept)
    kept = kept if own_calibration is None else drawn.without(kept, own_calibration)
    _refuse_lost_classes(params, source, labelled, strata[0], kept)
    wanted = params.calibration_samples or min(CALIBRATION_SAMPLES, len(kept))
    if own_calibration is not None:
        chosen = own_calibration[: params.calibration_samples]
    else:
        count = drawn.limit(wanted, len(kept), "calibration")
        if params.calibration == "balanced":
            chosen = calibration.balanced(kept, strata[0], count, streams[4])
        elif params.calibration == "random":
            chosen = calibration.at_random(kept, count, streams[4])
        else:
            chosen = drawn.pick(kept, strata[0], count, streams[4])
    picked |= {"train": kept, "calibration": chosen}

    # prepared after the split, and as it is written: limits spare work, and no split need fit in memory
    of_test = (source.x, labelled.y) if source.x_test is None else (source.x_test, labelled.y_test)
    splits_of = {
        name: _Split(*(of_test if name == "test" else (source.x, labelled.y)), indices, params)
        for name, indices in picked.items()
    }
    train = splits_of["train"].first(1)
    count = max(calibration.looked_at(one.shape[1:]) for one in train.values())
    first = {name: splits_of[name].first(count) for name in ("calibration", "test")}
    differs = calibration.say_what_differs(first["calibration"], first["test"])
    said = tuple(described(name, train[name], *how) for name, how in params.preparations.items())
    Contract(params.dataset, said, labelled.classes, params.task.as_json(), front_end=dict(source.front_end)).write(out)
    for name, split in splits_of.items():
        progress(f"writing {name}  {len(split.indices)} samples")
        npz_files.write(out / f"{name}.npz", split.arrays())
    shapes = {one.name: list(one.shape) for one in said}
    return {
        "dataset": params.dataset,
        "sha256": sha256,
        **({"shape": shapes[said[0].name]} if len(said) == 1 else {"shapes": shapes}),
        "classes": len(labelled.classes),
        **({"calibration_differs": differs} if differs else {}),
        **({"skipped": dict(sorted(source.skipped.items()))} if source.skipped else {}),
        **{f"{name}_samples": len(indices) for name, indices in sorted(picked.items())},
    }


class _Split(NamedTuple):
    """Which samples a split holds, of which inputs and labels; made ready a few at a time."""

    x: Taken | Rows
    y: NDArray[Any] | None
    indices: NDArray[np.intp]
    params: DataParams

    def first(self, count: int) -> dict[str, NDArray[Any]]:
        """The first samples of every input, prepared, by its name."""
        import numpy as np

        from recast.stages.common.npz_files import slices

        found = {}
        for name in self.params.preparations:
            few = slices(min(count, len(self.indices)), self._stored_bytes(name))
            found[name] = np.concatenate([self._prepared(name, part) for part in few])
        return found

    def arrays(self) -> dict[str, Written]:
        """Of every input and, where there are any, the labels, to be written."""
        from recast.stages.common import npz_files
        from recast.stages.common.dataset import TRUTH

        count = len(self.indices)
        found = {
            name: npz_files.Written(count, partial(self._prepared, name), self._stored_bytes(name))
            for name in self.params.preparations
        }
        if self.y is not None:
            found[TRUTH] = npz_files.Written(count, self._labels)
        return found

    def _prepared(self, name: str, which: slice) -> NDArray[Any]:
        from recast.stages.common.npz_files import pick

        return prepare(pick(self._stored(name), self.indices[which]), *self.params.preparations[name])

    def _stored(self, name: str) -> Any:
        return samples.named(self.x, list(self.params.preparations))[name]

    def _stored_bytes(self, name: str) -> int:
        """Of one sample."""
        array = self._stored(name)
        return max(1, int(array.nbytes) // max(1, len(array)))

    def _labels(self, which: slice) -> NDArray[Any]:
        if self.y is None:
            raise TypeError("a split without labels")
        found: NDArray[Any] = self.y[self.indices[which]]
        return found


class _Labelled(NamedTuple):
    """Labels as the task keeps them."""

    y: NDArray[Any] | None
    y_test: NDArray[Any] | None
    classes: tuple[str, ...]


def _labelled(source: Source, task: Task, params: DataParams) -> _Labelled:
    """The source's labels, as the task has them; of a test split with the same classes as of train."""
    import numpy as np

    what = params.path or params.dataset
    y, classes = task.truth(source.y, what)
    if y is not None and len(y) != len(source.x):
        raise StageError(f"{what} has {len(source.x)} samples and {len(y)} labels", "give one label per sample")
    if source.x_test is None:
        return _Labelled(y, None, _named(classes, source.classes))
    test = source.y_test
    if test is None or y is None or source.y is None:
        return _Labelled(y, task.truth(test, what)[0], _named(classes, source.classes))
    strange = sorted(set(np.unique(test).tolist()) - set(np.unique(source.y).tolist())) if task.keeps_classes else []
    if strange:
        raise StageError(f"{what}: y_test holds class {strange[0]}, which y_train lacks", "give train samples of it")
    # together, so that a test split need not hold every class
    both, classes = task.truth(np.concatenate([source.y, test]), what)
    return _Labelled(y, None if both is None else both[len(y) :], _named(classes, source.classes))


def _named(found: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """The classes by the names that the source gives them, where it names as many as the task found."""
    return given if len(given) == len(found) else found


def _refuse_lost_classes(
    params: DataParams,
    source: Source,
    labelled: _Labelled,
    strata: NDArray[Any] | None,
    samples: NDArray[np.intp],
) -> None:
    """StageError where no train sample is left of a class."""
    if strata is None:
        return
    absent = sorted(set(strata.tolist()) - set(strata[samples].tolist()))
    if absent:
        name = labelled.classes[absent[0]] if labelled.classes else absent[0]
        raise StageError(
            f"no train sample is left of class {name}",
            "give more samples of it",
            "raise data.train_samples" if params.train_samples else "",
            "lower data.validation_fraction" if params.validation_fraction else "",
            "lower data.test_fraction" if source.x_test is None else "",
        )


def _read(params: DataParams, inputs: Inputs) -> Source:
    from recast.stages.trunk.sources import cifar10_images, digits, image_folder, npz_file, torchvision_files

    if params.dataset == "digits":
        return digits.read()
    if params.dataset == "cifar10_images":
        return cifar10_images.read(inputs.data_roots)
    if params.dataset == "npz":
        return npz_file.read(inputs.files["path"], str(params.path), params.layouts, inputs.scratch)
    if params.dataset == "image_folder":
        masks = (inputs.files["masks"], params.masks) if params.masks else None
        shown, skips = str(params.path), params.damaged == "skip"
        size = params.preparations[INPUT][0].size
        return image_folder.read(inputs.files["path"], shown, size, masks, skips, scratch=inputs.scratch)
    if params.dataset in OF_ONES_OWN:
        return _own(params, inputs)
    if params.dataset in torchvision_files.CLASSES:
        return torchvision_files.read(params.dataset, inputs.data_roots, inputs.scratch)
    return _of_plugin(params.dataset, inputs)


OF_ONES_OWN = ("table", "wav_folder", "python")


def _own(params: DataParams, inputs: Inputs) -> Source:
    from recast.stages.common import own_function
    from recast.stages.trunk.sources import python_function, table, wav_folder

    path, shown = inputs.files.get("path"), str(params.path)
    if path is not None and params.columns and params.dataset == "table":
        return table.read(path, shown, params.columns, params.window)
    if path is not None and params.audio and params.dataset == "wav_folder":
        labels = (inputs.files["labels"], params.labels) if params.labels else None
        return wav_folder.read(path, shown, params.audio, labels, params.columns, inputs.scratch)
    function = own_function.load(str(params.function), "data.function", inputs.project)
    return python_function.read(
        function,
        str(params.function),
        path,
        params.layouts,
        roots=inputs.data_roots,
        scratch=inputs.scratch,
        audio=params.audio,
    )


def _of_plugin(dataset: str, inputs: Inputs) -> Source:
    from recast.stages.common.vendor_errors import foreign
    from recast.stages.trunk.sources import Source

    with foreign(f"the plugin's reader of the dataset '{dataset}' failed", "report it to the plugin's authors"):
        source = datasets.reader(dataset)(inputs.data_roots, inputs.scratch)
    if not isinstance(source, Source):
        raise StageError(
            f"the plugin's reader of the dataset '{dataset}' gives {type(source).__name__}, not a Source",
            "report it to the plugin's authors",
        )
    return source


STAGE = Stage(params=DataParams, run=run)
