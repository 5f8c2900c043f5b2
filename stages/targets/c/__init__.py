"""The c target: the model as C99 without allocation or any library but libm."""
