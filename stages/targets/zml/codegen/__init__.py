"""From a PyTorch model to Zig that calls ZML."""
