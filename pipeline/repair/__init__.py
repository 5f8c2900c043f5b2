"""`recast repair RECIPE/TARGET`: candidates of a target tried in a copy of the project, until one meets its limits."""
