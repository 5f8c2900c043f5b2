"""Where a model's tensors and weights lie while it runs."""
