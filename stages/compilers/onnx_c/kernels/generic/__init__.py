"""Kernels that take any layout, stride and shape: the last candidates of the catalogue, and always right."""
