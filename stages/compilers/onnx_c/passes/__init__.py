"""Rewrites of the IR, one file each; `compile` runs them in order."""
