"""What `train` is made of: optimizers and schedules by name, weights to begin with."""
