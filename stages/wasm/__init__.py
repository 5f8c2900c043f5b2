"""The WebAssembly target: one module per model, with zero imports."""
