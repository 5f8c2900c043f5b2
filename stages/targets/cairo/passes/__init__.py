"""From ONNX to the program, and over it: ranges, and its mirror in integers."""
