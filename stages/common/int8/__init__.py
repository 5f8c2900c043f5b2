"""Int8 by quantize/dequantize pairs (QDQ): the scheme, the ranges, and the model that has both."""
