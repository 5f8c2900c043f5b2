"""Writes resnet20.onnx from the pretrained weights in the folder given; runs in the environment that has torch."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from models.resnet20 import ResNet20
from recast.stages.common.torch_models.weights import load_weights


def main(weights: Path, folder: Path) -> None:
    model = ResNet20().eval()
    load_weights(model, weights, weights.name)
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        model,
        (torch.zeros(2, 3, 32, 32),),
        folder / "resnet20.onnx",
        dynamo=True,
        opset_version=18,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=dynamic,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
