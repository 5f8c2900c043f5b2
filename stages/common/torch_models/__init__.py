"""PyTorch models: where one may come from, how it is made, and which code is the user's."""
