"""Rewritings of what people train into what Akida takes, each of the same function; `lowering.lower` applies them."""
