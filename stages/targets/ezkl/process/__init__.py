"""Calls of the ezkl package, each in a process of its own."""
