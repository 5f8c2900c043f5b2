"""`python -m pipeline` is `recast`."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
