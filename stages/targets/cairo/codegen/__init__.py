"""The Cairo of a whole model: circuit, crates, workspace, input."""
