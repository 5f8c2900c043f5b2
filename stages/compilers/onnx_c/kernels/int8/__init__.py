"""Kernels in int8 for common layers, with packed weights."""
