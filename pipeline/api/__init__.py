"""What `import recast` gives a program or a notebook: a project, its runs and results, and emitted models to call."""
