"""Pieces of Cairo: a layer's functions, scalar arithmetic, felts that hold several numbers."""
