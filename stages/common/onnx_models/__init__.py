"""ONNX models: read, checked, rewritten, and run by ONNX Runtime in one place."""
