"""The circuit of a model: its network, settings, and what it costs."""
