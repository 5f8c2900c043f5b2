"""The `nn.Module` definitions that recipes name as `models.<file>:<Class>`."""
