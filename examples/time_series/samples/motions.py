"""Acceleration of people who rest, walk, run or shake, as a formula has it; each moves in a way of their own."""

import numpy as np

HERTZ, LENGTH = 50, 128
MOTIONS = {"rest": (0.2, 0.1), "walk": (1.8, 0.8), "run": (2.8, 1.8), "shake": (6.0, 1.4)}
"""motion -> how often a second, and how hard, in g"""


def record(people: int = 15, recordings: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """x float32 (N, 3, 128) in g, y (N,), the person of each recording in `groups`, and the names of the classes."""
    random = np.random.default_rng(seed)
    time = np.arange(LENGTH) / HERTZ
    x, y, groups = [], [], []
    for person in range(people):
        pace, strength = random.uniform(0.85, 1.15, 2)
        worn = random.normal(size=(3, 3)) * 0.3 + np.eye(3)  # how the sensor is turned
        for motion, (hertz, size) in enumerate(MOTIONS.values()):
            for _ in range(recordings):
                angle = 2 * np.pi * (hertz * pace * time + random.uniform())
                axes = np.stack([np.sin(angle), 0.5 * np.sin(2 * angle), np.abs(np.cos(angle))]) * size * strength
                axes[2] += 1  # gravity
                x.append(worn @ axes + random.normal(0, 0.15, (3, LENGTH)))
                y.append(motion)
                groups.append(f"person {person}")
    classes = np.array(list(MOTIONS))
    return {"x": np.array(x, np.float32), "y": np.array(y), "groups": np.array(groups), "classes": classes}
