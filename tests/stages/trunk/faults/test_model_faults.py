# environment: torch
from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from recast.stages.base import StageError
from recast.stages.trunk.faults import model_calls
from recast.stages.trunk.faults.model_faults import BRANCHES, refuse, refuse_infinite, refuse_reads

NETS = '''
import random
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(256, 3)
    def forward(self, x):
        return self.head(self.conv(x))
    def head(self, x):
        return self.fc(torch.relu(x).flatten(1))

class Statistics(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)
    def forward(self, x):
        return self.head(self.norm(self.conv(x)))

class ByBatch(Net):
    def forward(self, x):
        return self.head(F.batch_norm(self.conv(x), None, None, training=True))

class Trains(Net):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))
    def train(self, mode=True):
        return super().train(True)
    def forward(self, x):
        return self.head(self.block(self.conv(x)))

class Drops(Net):
    def forward(self, x):
        return self.head(F.dropout(self.conv(x)))

class Noise(Net):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))

class Chance(Net):
    def forward(self, x):
        return super().forward(x) * random.random()

class Counts(Net):
    calls = 0
    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls

class Buffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
    def forward(self, x):
        self.seen += 1
        return super().forward(x) + self.seen

class Centred(Net):
    def forward(self, x):
        scores = super().forward(x)
        return scores - scores.mean(0)

class Attends(Net):
    """Across the batch, behind a transposition: the batch is not the first axis where samples are mixed."""
    def forward(self, x):
        x = self.conv(x).flatten(2).permute(2, 0, 1)
        return self.head((x - x.mean(1, keepdim=True)).permute(1, 2, 0))

class Squeezes(Net):
    def forward(self, x):
        return super().forward(x).squeeze()

class Side(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0 else -x

class Branches(Net):
    def __init__(self):
        super().__init__()
        self.side = Side()
    def forward(self, x):
        return super().forward(self.side(x))

class Scales(Net):
    def forward(self, x):
        return super().forward(x / x.amax((1, 2, 3)).tolist()[0])

class Repeats(Net):
    def forward(self, x):
        for _ in range(int(x.abs().max() * 2)):
            x = x * 0.9
        return super().forward(x)

class Halves(Net):
    def forward(self, x):
        while x.abs().max() > 1:
            x = x * 0.5
        return super().forward(x)

class Checks(Net):
    """What may be asked: a check that only raises, and sizes and weights, which are no values of the input."""
    def forward(self, x):
        assert x.max() < 100, "too large"
        if x.isnan().any():
            raise ValueError("not a number")
        if x.shape[0] > 1 and self.fc.bias.sum() < 1e9:
            x = x * float(self.conv.weight.abs().sum() > 0)
        return super().forward(x)

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(8, 6), nn.Linear(6, 3)
    def forward(self, x):
        return self.fc(self.lstm(x[:, 0].transpose(0, 1))[0][-1])

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)
    def forward(self, x):
        return self.fc(self.layer(x[:, 0]).mean(1))

class Even(Net):
    def forward(self, x):
        assert x.shape[0] % 2 == 0, "even batches only"
        return super().forward(x)

class Instance(Net):
    def forward(self, x):
        return self.head(F.instance_norm(self.conv(x)))

class Root(Net):
    def forward(self, x):
        return super().forward(x).abs().neg().sqrt()
'''
Refusal = Callable[[nn.Module, torch.Tensor, str], None]
OTHER = "gives other scores each time it is called, also in evaluation"
MIXED = "gives a sample other scores when other samples are beside it in the batch"
TAKES = "a value that it computes from its input, in"


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder: Path = tmp_path_factory.mktemp("faults")
    (folder / "faulty_nets.py").write_text(NETS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module("faulty_nets")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    random.seed(0)


def samples(count: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 1, 8, 8)).astype(np.float32))


def refused(nets: ModuleType, name: str, refusal: Refusal = refuse) -> str:
    with pytest.raises(StageError) as caught:
        refusal(getattr(nets, name)().eval(), samples(), name)
    assert caught.value.remedy
    return f"{caught.value.message} | {caught.value.remedy}"


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        (
            "Statistics",
            f"{MIXED}: layer 'norm' (BatchNorm2d) at faulty_nets.py:22 has no running stat",
            "track_running_st",
        ),
        (
            "ByBatch",
            f"{MIXED}: batch_norm in ByBatch.forward at faulty_nets.py:26 normalises by the batch",
            "running stat",
        ),
        ("Drops", f"{OTHER}: dropout in Drops.forward at faulty_nets.py:39 draws random", "training=self.training"),
        ("Trains", f"{OTHER}: layer 'block.0' (BatchNorm2d) is in training after eval()", "train() and eval()"),
        ("Noise", f"{OTHER}: randn_like in Noise.forward at faulty_nets.py:43 draws random", "while self.training"),
        ("Chance", f"{OTHER}: mul in Chance.forward at faulty_nets.py:47 gives another value", "random numbers"),
        ("Counts", f"{OTHER}: mul in Counts.forward at faulty_nets.py:53 gives another value", "no counters"),
        ("Buffer", f"{OTHER}: it changes its buffer 'seen' with each call", "while self.training"),
        (
            "Centred",
            f"{MIXED}: mean in Centred.forward at faulty_nets.py:66 is the first to mix",
            "the first axis is the",
        ),
        (
            "Attends",
            f"{MIXED}: mean in Attends.forward at faulty_nets.py:72 is the first to mix",
            "the first axis is the",
        ),
        ("Squeezes", "gives scores of shape (3,) for one sample, and (4, 3) for 4", "squeeze axes by their number"),
        ("Branches", f"branches on {TAKES} layer 'side' (Side) at faulty_nets.py:80", "torch.where"),
    ],
)
def test_what_no_graph_computes_is_said_of_the_layer(nets: ModuleType, name: str, message: str, remedy: str) -> None:
    said = refused(nets, name)
    assert said.startswith(f"{name} {message}") and remedy in said.partition(" | ")[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Branches", f"branches on {TAKES} layer 'side' (Side) at faulty_nets.py:80"),
        ("Halves", f"branches on {TAKES} Halves.forward at faulty_nets.py:101"),
        ("Repeats", f"makes a number of Python of {TAKES} Repeats.forward at faulty_nets.py:95"),
        ("Scales", f"takes out of its tensor {TAKES} Scales.forward at faulty_nets.py:91"),
    ],
)
def test_values_that_leave_their_tensors_are_found(nets: ModuleType, name: str, message: str) -> None:
    assert refused(nets, name, refuse_reads).startswith(f"{name} {message}")


@pytest.mark.parametrize("name", ["Net", "Checks", "Recurrent", "Attention", "Even", "Instance"])
def test_what_a_graph_can_compute_is_not_refused(nets: ModuleType, name: str) -> None:
    model = getattr(nets, name)().eval()
    for refusal in (refuse, refuse_infinite, refuse_reads):
        refusal(model, samples(), name)


def test_a_loop_by_a_number_may_yet_be_exported(nets: ModuleType) -> None:
    """Only branches are refused before training: the newer exporter can carry a number along."""
    refuse_reads(nets.Repeats().eval(), samples(), "Repeats", BRANCHES)
    with pytest.raises(StageError):
        refuse_reads(nets.Halves().eval(), samples(), "Halves", BRANCHES)


def test_what_is_not_finite_is_traced_to_its_operation(nets: ModuleType) -> None:
    assert "Root gives NaN or infinity, first from sqrt in Root.forward at faulty_nets.py:" in refused(
        nets, "Root", refuse_infinite
    )


def test_the_layers_that_were_running_are_known_after_an_error() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(64, 8), nn.Linear(9, 3)))
    with pytest.raises(RuntimeError), model_calls.running_layers(model) as layers:
        model(samples())
    assert layers == [("", "Sequential"), ("1", "Sequential"), ("1.1", "Linear")]
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


def test_a_models_state_is_as_it_was(nets: ModuleType) -> None:
    model = nets.Net().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = samples()
    refuse(model, x, "Net")
    refuse_reads(model, x, "Net")
    assert torch.equal(x, samples())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
