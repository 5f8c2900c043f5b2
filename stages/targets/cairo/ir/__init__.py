"""The model in fixed point: formats, intervals, slots, programs."""
