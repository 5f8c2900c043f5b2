"""The Cairo target: the model as a Scarb workspace in fixed point, compiled and run on a Cairo VM."""
