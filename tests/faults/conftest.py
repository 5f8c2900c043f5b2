"""What the suite that plants faults is given."""

from __future__ import annotations

from tests.lib.own_home import own_home as own_home
