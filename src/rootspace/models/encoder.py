"""The paper's encoder: the contracting path of a U-Net and two linear layers a and b."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

GRID = 4
"""Side of the feature map that layer a sees; what the path gives for 32x32 images."""


class Encoder(nn.Sequential):
    """Modified U-Net encoder (Sec. 4.1 of arXiv 2510.04090; U-Net: arXiv 1505.04597).

    Four double 3x3 convolutions with batch normalisation, of width, 2, 4 and 8 times width
    channels, with max pooling between them; then linear layer a to 8 * width and linear layer b to
    `dim`. About 9 M parameters at the default width, 0.6 M at width 16. Images other than 32x32
    are brought to layer a's 4x4 grid by adaptive average pooling.

    Args:
        dim: of the embedding.
        in_channels: of the images.
        width: channels of the first block.
        normalize: batch normalisation after layer a too, where embeddings must spread out first:
            with softmax and contrastive losses an epoch then does what three did. False for the
            encoder as the paper describes it.

    Shape:
        `[B, in_channels, H, W]` float, H and W at least 8 -> `[B, dim]`.
    """

    default_lr = 6e-3
    """AdamW's peak learning rate from scratch, measured (docs/comparison.md)."""

    def __init__(
        self, dim: int, in_channels: int = 3, width: int = 64, normalize: bool = True
    ) -> None:
        for name, value in (("dim", dim), ("in_channels", in_channels), ("width", width)):
            if value < 1:
                raise ValueError(f"Argument '{name}' must be at least 1, not {value}.")
        channels = [in_channels, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(channels)):
            layers += [nn.MaxPool2d(2)] if i else []
            layers += [*_convolution(before, after), *_convolution(after, after)]
        super().__init__(
            *layers,
            nn.AdaptiveAvgPool2d(GRID),
            nn.Flatten(),
            nn.Linear(8 * width * GRID * GRID, 8 * width),  # a
            *([_BatchNorm(8 * width)] if normalize else []),
            nn.ReLU(),
            nn.Linear(8 * width, dim),  # b
        )
        self.dim = dim

    @property
    def head(self) -> nn.Linear:
        """The last linear layer, b."""
        last = self[-1]
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4 or min(input.shape[2:]) < 8:
            raise ValueError(
                "Argument 'input' must have shape [B, C, H, W] with H and W at least 8, not "
                f"{tuple(input.shape)}."
            )
        return super().forward(input)


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch of one image too, whose variance is unknown."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) == 1:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def num_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
