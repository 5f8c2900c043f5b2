"""What `recast check` finds in the project's own code: each mistake is one problem, where the recipe names the code."""

from __future__ import annotations

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning.make_plan import make_plan

HEAD = "import torch\nfrom torch import nn\n"
NET = "class Net(nn.Module):\n    def __init__(self): ...\n"
BESIDE = {
    "models/__init__.py": "",
    "models/parts/__init__.py": "",
    "models/parts/blocks.py": "class Block: ...\ndef make(): ...\n",
}
MISTAKES = [
    ("def f(:\n", "models/x.py:3:7: invalid syntax; mend it there"),
    ("x = (1,\n", "models/x.py:3:5: '(' was never closed; mend it there"),
    ("if True:\npass\n", "models/x.py:4:1: expected an indented block after 'if' statement on line 3; mend it there"),
    ("  x = 1\n", "models/x.py:3:2: unexpected indent; mend it there"),
    ("x = 'abc\n", "models/x.py:3:5: unterminated string literal (detected at line 3); mend it there"),
    ("import timm\n", "models/x.py:3 imports 'timm', which 'torch' does not hold; add the package that provides it to"),
    ("from einops import rearrange\n", "models/x.py:3 imports 'einops', which 'torch' does not hold; add the package"),
    ("import torchaudio.transforms as t\n", "models/x.py:3 imports 'torchaudio', which 'torch' does not hold; add"),
    ("import numpyy as np\n", "models/x.py:3 imports 'numpyy', which 'torch' does not hold; add the package that"),
    ("import tensorflow\n", "models/x.py:3 imports 'tensorflow', which 'torch' does not hold; add the package that"),
    ("from models.parts.blocks import Blok\n", "models/x.py:3 imports 'Blok', which models/parts/blocks.py does not "),
    ("from models.parts import block\n", "models/x.py:3 imports 'block', which models/parts/__init__.py does not de"),
    ("from models.part.blocks import Block\n", "models/x.py:3 imports 'models.part.blocks', which does not exist; "),
    ("import models.parts.bloks\n", "models/x.py:3 imports 'models.parts.bloks', which does not exist; did you mean"),
    ("from .parts.blocks import mak\n", "models/x.py:3 imports 'mak', which models/parts/blocks.py does not define; "),
    ("from .prts import Block\n", "models/x.py:3 imports 'prts', which does not exist; "),
    ("class A:\n    import timm\n", "models/x.py:4 imports 'timm', which 'torch' does not hold; add the package that"),
]
SOUND = """\
import collections.abc, json
import numpy as np, PIL.Image, sklearn.datasets, google.protobuf, functorch
import models.parts.blocks
from models.parts import blocks
from models.parts.blocks import *
from .parts.blocks import Block, make
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import nowhere
try:
    import timm
except ImportError:
    timm = None
def later():
    import nowhere
"""


def problems(write, files: dict[str, str], recipe: str = "model: models.x:Net\n") -> list[str]:
    text = f"{recipe}stages:\n  data: {{dataset: digits}}\ntargets:\n  onnxruntime: {{}}\n"
    place = write({**BESIDE, **files, "recipes/r.yaml": text})
    try:
        make_plan(place, ["r"])
    except RecipeError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_in_the_models_file_is_found(line: str, said: str, write) -> None:
    (found,) = problems(write, {"models/x.py": f"{HEAD}{line}{NET}"})
    assert found.startswith(f"recipes/r.yaml:1:1: {said}")


def test_it_is_found_in_what_the_model_imports_too(write) -> None:
    files = {"models/x.py": f"{HEAD}from models.parts import deep\n{NET}", "models/parts/deep.py": "import timm\n"}
    (found,) = problems(write, files)
    assert "models/parts/deep.py:1 imports 'timm'" in found


def test_what_may_never_run_and_what_is_there_is_no_mistake(write) -> None:
    assert problems(write, {"models/x.py": f"{HEAD}{SOUND}{NET}"}) == []


def test_a_loss_of_the_projects_is_looked_at_too(write) -> None:
    recipe = "model: models.x:Net\nstages:\n  train: {loss: 'models.own:mine'}\n"
    text = f"{recipe}  data: {{dataset: digits}}\ntargets:\n  onnxruntime: {{}}\n"
    files = {"models/x.py": f"{HEAD}{NET}", "models/own.py": "import pandas\n\n\ndef mine(outputs, y): ...\n"}
    place = write({**BESIDE, **files, "recipes/r.yaml": text})
    with pytest.raises(RecipeError) as caught:
        make_plan(place, ["r"])
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("recipes/r.yaml", 3)
    assert "models/own.py:1 imports 'pandas', which 'torch' does not hold" in problem.message


def test_a_metric_is_looked_at_where_it_is_imported(write) -> None:
    """In every target's environment, which has other packages than that of `train`."""
    recipe = "model: models.x:Net\ntask: {name: classification, metric: 'models.own:mine'}\n"
    files = {"models/x.py": f"{HEAD}{NET}", "models/own.py": "import sklearn\n\n\ndef mine(outputs, y): ...\n"}
    (found,) = problems(write, files, recipe)
    assert found.startswith("recipes/r.yaml:2:") and "'sklearn', which 'onnx' does not hold; drop the import" in found


def test_with_packages_of_ones_own_no_import_is_refused(write) -> None:
    """What they are imported as, only they know; that they are not locked is said."""
    recipe = "model: models.x:Net\nrequirements: {torch: [opencv-python]}\n"
    found = problems(write, {"models/x.py": f"{HEAD}import cv2\n{NET}"}, recipe)
    assert found and not any("cv2" in one for one in found)
