"""The onnxruntime target: a static int8 ONNX model with quantize/dequantize nodes (QDQ), run on the CPU."""
