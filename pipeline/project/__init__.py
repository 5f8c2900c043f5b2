"""The repository as a project of recipes: begun by `recast init`, added to by `recast new`, shown and looked over."""
