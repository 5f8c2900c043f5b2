"""The transforms of torchvision.transforms.v2 by which a recipe may change train samples, with their arguments.

As data, so that a recipe is checked without torchvision; a test in its environment compares the table with it. Those
that change a sample's size or type, take functions, other transforms or several samples at once, or need torchvision's
compiled reader of images (JPEG), are left out, and so are arguments that YAML cannot write. `interpolation`, which
torchvision takes as an enumeration, is written by its name.
"""

from __future__ import annotations

from recast.stages.common.spelling import did_you_mean

AUGMENTS: dict[str, tuple[str, ...]] = {
    name: tuple(arguments.split())
    for name, arguments in {
        "AugMix": "severity mixture_width chain_depth alpha all_ops fill interpolation",
        "AutoAugment": "fill interpolation",
        "ColorJitter": "brightness contrast saturation hue",
        "ElasticTransform": "alpha sigma fill interpolation",
        "GaussianBlur": "kernel_size sigma",
        "GaussianNoise": "mean sigma clip",
        "RandAugment": "num_ops magnitude num_magnitude_bins fill interpolation",
        "RandomAdjustSharpness": "sharpness_factor p",
        "RandomAffine": "degrees translate scale shear fill center interpolation",
        "RandomAutocontrast": "p",
        "RandomChannelPermutation": "",
        "RandomCrop": "size padding pad_if_needed fill padding_mode",
        "RandomEqualize": "p",
        "RandomErasing": "p scale ratio value",
        "RandomGrayscale": "p",
        "RandomHorizontalFlip": "p",
        "RandomInvert": "p",
        "RandomPerspective": "distortion_scale p fill interpolation",
        "RandomPhotometricDistort": "brightness contrast saturation hue p",
        "RandomPosterize": "bits p",
        "RandomResizedCrop": "size scale ratio antialias interpolation",
        "RandomRotation": "degrees fill center interpolation",
        "RandomSolarize": "threshold p",
        "RandomVerticalFlip": "p",
        "TrivialAugmentWide": "num_magnitude_bins fill interpolation",
    }.items()
}
"""transform -> its keyword arguments"""

NEEDED = {
    "GaussianBlur": "kernel_size",
    "RandomAdjustSharpness": "sharpness_factor",
    "RandomAffine": "degrees",
    "RandomCrop": "size",
    "RandomPosterize": "bits",
    "RandomResizedCrop": "size",
    "RandomRotation": "degrees",
    "RandomSolarize": "threshold",
}
"""transform -> the argument that has no default"""

INTERPOLATIONS = ("nearest", "bilinear")
"""those that every transform with an `interpolation` takes"""


def check(name: str, arguments: dict[str, object]) -> None:
    """ValueError for a transform that there is not, and for arguments that it does not take or lacks."""
    if name not in AUGMENTS:
        raise ValueError(f"cannot hold '{name}'; {did_you_mean(name, AUGMENTS)}")
    for argument in arguments:
        if argument not in AUGMENTS[name]:
            known = AUGMENTS[name]
            meant = did_you_mean(argument, known) if known else "it takes none"
            raise ValueError(f"gives {name} '{argument}', which it does not take; {meant}")
    if "interpolation" in arguments and (said := arguments["interpolation"]) not in INTERPOLATIONS:
        raise ValueError(f"gives {name} the interpolation '{said}', which must be {' or '.join(INTERPOLATIONS)}")
    if (needed := NEEDED.get(name)) and needed not in arguments:
        raise ValueError(f"{name} needs '{needed}': write '{{{name}: {{{needed}: …}}}}'")
