"""Statements and their proofs: made, checked, and read."""
