"""Models of which Akida runs parts, and onnxruntime what lies before, between and behind them."""
