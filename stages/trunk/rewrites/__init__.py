"""Rewrites of an exported or imported graph: simplified, folded, made to fit the data's samples."""
