# environment: torch
from __future__ import annotations

import pytest
import torch

from recast.stages.base import StageError
from recast.stages.trunk.training.loss_fit import FirstBatch, refuse

SCORES = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 5), (2, 5, 3, 3)])
def test_nll_takes_logarithms_of_probabilities_alone(shape: tuple[int, ...]) -> None:
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    refuse("NLLLoss", scores.log_softmax(dim=1))
    for wrong in (scores, scores.softmax(dim=1)):
        with pytest.raises(StageError, match="loss nll takes logarithms of probabilities") as caught:
            refuse("NLLLoss", wrong)
        assert "set train.loss to cross_entropy" in caught.value.remedy


def test_cross_entropy_takes_no_probabilities() -> None:
    refuse("CrossEntropyLoss", SCORES)
    refuse("CrossEntropyLoss", SCORES.log_softmax(dim=1))
    refuse("CrossEntropyLoss", SCORES.sigmoid())
    with pytest.raises(StageError, match="a softmax would be taken twice"):
        refuse("CrossEntropyLoss", SCORES.softmax(dim=1))


def test_what_is_not_finite_is_left_to_the_loss() -> None:
    refuse("NLLLoss", torch.full((2, 3), torch.nan))


def test_only_the_first_batch_is_looked_at() -> None:
    one = FirstBatch("NLLLoss")
    one.check(SCORES.log_softmax(dim=1))
    one.check(SCORES)
