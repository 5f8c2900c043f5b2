"""Which kernel computes a node, and the C that calls it."""
