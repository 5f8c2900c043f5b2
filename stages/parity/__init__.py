"""Whether what came out computes the same function: each form of a model beside the one before, layer by layer."""
