"""`python -m recast` is `recast`."""

import os
import signal
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"recast: interrupted\n")
    os._exit(130)


def start() -> None:
    """Run the command line. Ctrl-C while it is still being imported has nothing to clean up and nothing to report."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from recast.pipeline.cli.main import main

    signal.signal(signal.SIGINT, usual)
    main()


if __name__ == "__main__":
    start()
