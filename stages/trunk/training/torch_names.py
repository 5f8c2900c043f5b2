"""The optimizers, losses and schedulers a recipe can name, with their arguments: those of the PyTorch in envs/torch.in.

As data, so that a recipe is checked without importing PyTorch; a test in its environment compares the tables with it.
What a recipe cannot write (`scale_fn`), what has no meaning at the start of a run (`last_epoch`) and what PyTorch has
deprecated (`size_average`, `reduce`) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recast.stages.common.spelling import did_you_mean


def _table(names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(arguments.split()) for name, arguments in names.items()}


OPTIMIZERS = _table(
    {
        "ASGD": "lambd alpha t0 weight_decay foreach maximize differentiable capturable",
        "Adadelta": "rho eps weight_decay foreach capturable maximize differentiable",
        "Adafactor": "beta2_decay eps d weight_decay foreach maximize",
        "Adagrad": "lr_decay weight_decay initial_accumulator_value eps foreach maximize differentiable fused",
        "Adam": "betas eps weight_decay amsgrad foreach maximize capturable differentiable fused "
        "decoupled_weight_decay",
        "AdamW": "betas eps weight_decay amsgrad maximize foreach capturable differentiable fused",
        "Adamax": "betas eps weight_decay foreach maximize differentiable capturable",
        "Muon": "weight_decay momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn",
        "NAdam": "betas eps weight_decay momentum_decay decoupled_weight_decay foreach maximize capturable "
        "differentiable",
        "RAdam": "betas eps weight_decay decoupled_weight_decay foreach maximize capturable differentiable",
        "RMSprop": "alpha eps weight_decay momentum centered capturable foreach maximize differentiable",
        "Rprop": "etas step_sizes capturable foreach maximize differentiable",
        "SGD": "momentum dampening weight_decay nesterov maximize foreach differentiable fused",
    }
)
"""optimizer of torch.optim -> its keyword arguments but lr"""

LOSSES = _table(
    {
        "BCEWithLogitsLoss": "weight reduction pos_weight",
        "CrossEntropyLoss": "weight ignore_index reduction label_smoothing",
        "HuberLoss": "reduction delta",
        "L1Loss": "reduction",
        "MSELoss": "reduction",
        "MultiLabelSoftMarginLoss": "weight reduction",
        "MultiMarginLoss": "p margin weight reduction",
        "NLLLoss": "weight ignore_index reduction",
        "SmoothL1Loss": "reduction beta",
        "SoftMarginLoss": "reduction",
    }
)
"""loss of torch.nn that some task takes -> its keyword arguments"""

SCHEDULERS = _table(
    {
        "ConstantLR": "factor total_iters",
        "CosineAnnealingLR": "T_max eta_min",
        "CosineAnnealingWarmRestarts": "T_0 T_mult eta_min",
        "CyclicLR": "base_lr max_lr step_size_up step_size_down mode gamma scale_mode cycle_momentum "
        "base_momentum max_momentum",
        "ExponentialLR": "gamma",
        "LinearLR": "start_factor end_factor total_iters",
        "MultiStepLR": "milestones gamma",
        "OneCycleLR": "max_lr total_steps epochs steps_per_epoch pct_start anneal_strategy cycle_momentum "
        "base_momentum max_momentum div_factor final_div_factor three_phase",
        "PolynomialLR": "total_iters power",
        "ReduceLROnPlateau": "mode factor patience threshold threshold_mode cooldown min_lr eps",
        "StepLR": "step_size gamma",
    }
)
"""scheduler of torch.optim.lr_scheduler -> its keyword arguments"""

NEEDED = {
    "CosineAnnealingWarmRestarts": ("T_0",),
    "CyclicLR": ("base_lr", "max_lr"),
    "ExponentialLR": ("gamma",),
    "MultiStepLR": ("milestones",),
    "StepLR": ("step_size",),
}
"""scheduler -> arguments without a default, but for those that follow from the run (see `optimisation`)"""

UNSUITED = {
    "LBFGS": "it needs a closure",
    "SparseAdam": "it takes only sparse gradients",
    "LambdaLR": "it is made from a function",
    "MultiplicativeLR": "it is made from a function",
    "SequentialLR": "it is made from other schedulers",
    "ChainedScheduler": "it is made from other schedulers",
}
"""optimizers and schedulers of PyTorch that a recipe cannot use, and why"""

OTHER_LOSSES = (
    *("AdaptiveLogSoftmaxWithLoss", "BCELoss", "CTCLoss", "CosineEmbeddingLoss", "GaussianNLLLoss"),
    *("HingeEmbeddingLoss", "KLDivLoss", "LinearCrossEntropyLoss", "MarginRankingLoss", "MultiLabelMarginLoss"),
    *("PoissonNLLLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss"),
)
"""the rest of torch.nn's losses"""


def find(name: str, known: Iterable[str]) -> str | None:
    """The known name that is meant: in any case, with `_` or without, with `Loss` or without; None if there is none."""
    return next((key for key in known if _folded(key) == _folded(name)), None)


def require(name: str, known: Mapping[str, tuple[str, ...]]) -> str:
    """The same; ValueError, for a message about the param, if none is meant."""
    if found := find(name, known):
        return found
    if (other := find(name, UNSUITED)) and (other in ("LBFGS", "SparseAdam")) == (known is OPTIMIZERS):
        raise ValueError(f"cannot be '{name}': {UNSUITED[other]}; known: {', '.join(known)}")
    if known is LOSSES and find(name, OTHER_LOSSES):
        raise ValueError(
            f"cannot be '{name}': no task gives it what it takes; known: {', '.join(known)}, or a function of your "
            "own, module:function"
        )
    raise ValueError(f"cannot be '{name}'; {did_you_mean(name, known)}")


def refuse_unknown(given: Iterable[str], name: str, known: Mapping[str, tuple[str, ...]]) -> None:
    """ValueError for the first argument that the optimizer, loss or scheduler does not take; nothing if it is none."""
    if found := find(name, known):
        for argument in given:
            if argument not in known[found]:
                meant = did_you_mean(argument, known[found])
                raise ValueError(f"cannot hold '{argument}', which {found} does not take; {meant}")


def _folded(name: str) -> str:
    return name.lower().replace("_", "").removesuffix("loss")
