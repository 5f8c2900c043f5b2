"""Kernels in float32 for common layers, with packed weights."""
