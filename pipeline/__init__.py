"""The runner: recipes to a plan, a plan to DVC. Knows no torch and no target."""
