"""An autoencoder of small images."""

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """float32 (N, 1, 8, 8), 0 to 1 -> the same again (N, 1, 8, 8), through a few numbers."""

    def __init__(self, code: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, code), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(code, 32), nn.ReLU(), nn.Linear(32, 64), nn.Unflatten(1, (1, 8, 8)))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
