# environment: ezkl
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.serving.model import Means
from recast.stages.targets.ezkl import served
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.proof import check_proof
from tests.lib.onnx_models import Workplace, images


def test_a_request_is_answered_with_the_scores_a_proof_states_and_a_proof_that_holds(
    mlp: Workplace, store: Path, tmp_path: Path
) -> None:
    model = served.load(mlp.root / "emit", Means(threads=1, memory_gib=3.0, local=store))
    x, _ = images(1, seed=5)
    answer = model.answer(x.astype(np.float32), "stored")
    assert answer.scores is not None and answer.scores.shape == (1, 4)

    # as an asker keeps it: what JSON makes of it, in a file
    (tmp_path / "proof.json").write_text(json.dumps(answer.more["proof"]))
    stated, insecure = check_proof.checked(tmp_path / "proof.json", mlp.root / "emit", store)
    scores = stated.scores(settings.read(mlp.root / "emit" / settings.FILE))
    assert scores == pytest.approx(answer.scores[0].tolist(), abs=1e-6) and insecure

    with pytest.raises(StageError, match="2 samples were sent, and the model takes 1 at once"):
        model.answer(np.concatenate([x, x]).astype(np.float32), "stored")


def test_a_bound_of_memory_that_a_proof_exceeds_is_said(mlp: Workplace, store: Path) -> None:
    model = served.load(mlp.root / "emit", Means(threads=1, memory_gib=0.05, local=store))
    with pytest.raises(StageError, match=r"needs more than the 0\.05 GiB of memory"):
        model.answer(images(1, seed=5)[0].astype(np.float32), "stored")
