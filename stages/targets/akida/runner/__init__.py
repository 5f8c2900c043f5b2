"""What is emitted beside model.fbz, as it is: Python that runs it, and what `akida generate` makes host code of."""
