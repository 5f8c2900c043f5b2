"""Compilers that more than one target uses."""
