"""The work: one module per stage. Knows nothing of the runner."""
