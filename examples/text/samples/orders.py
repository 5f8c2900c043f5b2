"""Orders to a house, written by a grammar, as numbers of words."""

import numpy as np

LENGTH = 10
ABOUT = {
    "light": ["turn the lamp {place} {state}", "make it {much} {bright} {place}", "{state} with the lamp {place}"],
    "heating": ["make it {much} {warm} {place}", "turn the heating {place} {state}", "it is {much} too {warm} {place}"],
    "music": ["play {much} {loud} music {place}", "turn the music {place} {state}", "make the music {much} {loud}"],
    "blinds": ["let the blinds {place} {way}", "{way} with the blinds {place}", "move the blinds {much} {way} {place}"],
}
WORDS = {
    "place": ["", "in the kitchen", "in the bath", "upstairs", "here"],
    "state": ["on", "off"],
    "much": ["", "a little", "much"],
    "bright": ["brighter", "darker"],
    "warm": ["warmer", "colder"],
    "loud": ["louder", "softer"],
    "way": ["up", "down"],
}
_TEXTS = [*(text for forms in ABOUT.values() for text in forms), *(text for texts in WORDS.values() for text in texts)]
VOCABULARY = sorted({word for text in _TEXTS for word in text.split() if "{" not in word})
"""word number n is at n - 1: 0 stands behind the last"""


def numbers(order: str) -> list[int]:
    """The words of an order (10,), those that are unknown left out."""
    known = [VOCABULARY.index(word) + 1 for word in order.split() if word in VOCABULARY][:LENGTH]
    return known + [0] * (LENGTH - len(known))


def write(orders: int = 900, seed: int = 0) -> dict[str, np.ndarray]:
    """x int64 (N, 10), y (N,), and the names of the classes."""
    random = np.random.default_rng(seed)
    y = random.integers(0, len(ABOUT), orders)
    forms = list(ABOUT.values())
    texts = []
    for label in y:
        form = forms[label][random.integers(3)]
        texts.append(form.format(**{name: words[random.integers(len(words))] for name, words in WORDS.items()}))
    return {"x": np.array([numbers(text) for text in texts]), "y": y, "classes": np.array(list(ABOUT))}
