"""Recast's own tasks, one module each."""
