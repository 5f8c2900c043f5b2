"""Recipes as files: read with the place of every key, checked on their own, mistakes put into words."""
