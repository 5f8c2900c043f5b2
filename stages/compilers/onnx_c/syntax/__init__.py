"""Pieces of C: loops and expressions."""
