"""Changes train samples by transforms of torchvision, each sample by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.torch_models.torchvision_import import import_torchvision

if TYPE_CHECKING:
    import torch


class Augmentation:
    """Transforms of images (C, H, W), and of masks (H, W) with them; random numbers are PyTorch's own."""

    def __init__(self, steps: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
        """StageError for arguments that a transform refuses."""
        v2 = import_torchvision("transforms.v2")
        made = []
        for step in steps:
            for name, arguments in step.items():
                if "interpolation" in arguments:
                    arguments = {**arguments, "interpolation": v2.InterpolationMode(arguments["interpolation"])}
                try:
                    made.append(getattr(v2, name)(**arguments))
                except (TypeError, ValueError) as error:
                    raise StageError(f"augment: {name}: {error}", "mend train.augment") from error
        self._transform = v2.Compose(made)
        self._types = import_torchvision("tv_tensors")

    def __call__(
        self, x: torch.Tensor, y: torch.Tensor | None, *, has_masks: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Samples as stored (n, C, H, W), and labels. StageError unless they keep their shape and type."""
        import torch

        if not isinstance(x, torch.Tensor):
            raise StageError("augment is for one input of images, and there are several", "drop train.augment")
        if x.ndim != 4:
            raise StageError(
                f"augment is for images, and samples have shape {tuple(x.shape[1:])}", "drop train.augment"
            )
        images, labels = [], []
        for number, one in enumerate(x):
            image = self._types.Image(one)
            try:
                if has_masks and y is not None:
                    image, mask = self._transform(image, self._types.Mask(y[number]))
                    labels.append(mask.as_subclass(torch.Tensor))
                else:
                    image = self._transform(image)
            except (TypeError, ValueError, RuntimeError) as error:
                said = str(error).partition("\n")[0]
                raise StageError(f"augment fails: {said}", "mend train.augment") from error
            if image.shape != one.shape or image.dtype != one.dtype:
                raise StageError(
                    f"augment makes samples of {tuple(image.shape)}, {image.dtype} of {tuple(one.shape)}, {one.dtype}",
                    "let it keep the size of a sample: set the transform's size",
                )
            images.append(image.as_subclass(torch.Tensor))
        return torch.stack(images), torch.stack(labels) if labels else y
