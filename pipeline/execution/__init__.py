"""`recast run`: what runs when, side by side, within what the machine has, and what came of it."""
