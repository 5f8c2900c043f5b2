"""What a recipe says of data of one's own: where its parts are, and how recordings become samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from recast.stages.base import Params, RepositoryPath, names_code
from recast.stages.common.called_with import CalledWith

OF = {
    "masks": ("image_folder",),
    "damaged": ("image_folder",),
    "columns": ("table", "wav_folder"),
    "window": ("table",),
    "labels": ("wav_folder",),
    "audio": ("wav_folder", "python"),
    "function": ("python",),
}
"""param -> the datasets it is for"""
NEEDED = {"table": "columns", "wav_folder": "audio", "python": "function"}
"""dataset -> the param that it cannot do without"""


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Said):
    """Which columns hold what, by their names."""

    x: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="what samples are made of: numbers, or of wav_folder the file"
    )
    y: str | Annotated[list[str], Field(min_length=1)] | None = Field(default=None, description="the label, or labels")
    split: str | None = Field(default=None, description="train, validation, test or calibration")
    group: str | None = Field(default=None, description="what no two splits may share: a machine, a patient, a speaker")


class Window(_Said):
    """Rows of a table that follow each other, as one sample of a time series."""

    length: PositiveInt = Field(description="rows of a window")
    step: PositiveInt | None = Field(default=None, description="rows from one to the next; unset: length, no overlap")


class Audio(_Said):
    """What samples are made of recordings."""

    rate: PositiveInt = Field(description="samples a second; recordings of another rate are resampled")
    seconds: float = Field(gt=0, description="of a sample; longer recordings are cut, shorter ones end in silence")
    features: Literal["waveform", "log_mel", "mfcc"] = Field(default="log_mel", description="what the model is given")
    frame: PositiveInt = Field(default=400, description="samples of the recording in a frame")
    hop: PositiveInt = Field(default=160, description="samples from one frame to the next")
    mels: PositiveInt = Field(default=40, description="bands of the mel filter bank, from 20 Hz to half the rate")
    coefficients: PositiveInt = Field(default=10, description="of mfcc, from the first on")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.features != "waveform" and self.frame > self.length:
            raise ValueError(f"frame {self.frame} is longer than {self.seconds:g} seconds, {self.length} samples")
        if self.features == "mfcc" and self.coefficients > self.mels:
            raise ValueError(f"coefficients {self.coefficients} are more than there are mels, {self.mels}")
        return self

    @property
    def length(self) -> int:
        """Samples of a recording that are used."""
        return round(self.rate * self.seconds)


def _given(params: Any) -> tuple[str, ...]:
    return () if params.path is None else ("path",)


class OwnData(Params):
    """The params of `data` that are for data of one's own."""

    masks: RepositoryPath | None = Field(
        default=None,
        description="for image_folder: the folder of masks, each by the path of its image; classes by pixel",
    )
    damaged: Literal["refuse", "skip"] = Field(
        default="refuse", description="for image_folder: what becomes of images that cannot be read"
    )
    columns: Columns | None = Field(
        default=None, description="for table, and the labels of wav_folder: which hold what"
    )
    window: Window | None = Field(default=None, description="for table: rows of a time series that are one sample")
    labels: RepositoryPath | None = Field(
        default=None, description="for wav_folder: the CSV or Parquet file of labels; unset: a folder for each class"
    )
    audio: Audio | None = Field(
        default=None, description="for wav_folder and python: what samples are made of recordings"
    )
    function: Annotated[str, CalledWith(_given, lambda params: ("roots",))] | None = Field(
        default=None, description="for python: the function of your own that gives the samples, module:function"
    )

    @model_validator(mode="after")
    def _for_the_dataset(self) -> Self:
        dataset = str(getattr(self, "dataset", ""))
        for param, datasets in OF.items():
            is_set = getattr(self, param) != type(self).model_fields[param].default
            if is_set and dataset not in datasets:
                raise ValueError(f"`{param}` is for {' and '.join(datasets)}: drop it, or use {datasets[0]}")
        needed = NEEDED.get(dataset)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"dataset {dataset} needs `{needed}`")
        if (self.labels is None) != (self.columns is None) and dataset == "wav_folder":
            raise ValueError("`labels` and `columns` of wav_folder go together: the file, and which column holds what")
        if self.function is not None and not names_code(self.function):
            raise ValueError("function must be 'module:function', for example 'models.samples:read'")
        return self
