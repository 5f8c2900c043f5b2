"""Forms of a model that can be compared: recorded from PyTorch, run by ONNX Runtime, fused, compiled."""
