"""What leaves the repository: a release of one target, checked, made anew and compared, and its versions."""
