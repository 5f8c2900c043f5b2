"""A network of words: embedded, looked at three at a time, and the strongest taken."""

from torch import Tensor, nn


class Orders(nn.Module):
    """int64 (N, 10), numbers of words, 0 behind the last -> scores (N, classes)."""

    def __init__(self, words: int = 64, classes: int = 4, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.look = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.act = nn.ReLU()
        self.strongest = nn.AdaptiveMaxPool1d(1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        words = self.embed(x).transpose(1, 2)
        return self.head(self.flat(self.strongest(self.act(self.look(words)))))
