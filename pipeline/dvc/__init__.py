"""Recipes as DVC sees them: `dvc.yaml`, `dvc.lock`, the cache, status, and every use of DVC's internals."""
