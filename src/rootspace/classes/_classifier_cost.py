"""What a learned classifier layer costs on the device: Tables 9 and 10 of arXiv 2510.04090."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20

BACKBONES = {"ViT-S/16": (21_665_664, 384), "ViT-B/16": (85_798_656, 768)}
"""Parameters without a head, and dimension of the embedding."""

CONTEXT_MIB = 616
"""What the 943 MB of Table 10 hold besides ViT-B's float32 weights: the CUDA context."""


@dataclass(frozen=True)
class ClassifierCost:
    """A backbone with a linear layer of `num_classes` outputs, in float32.

    LSC is the case of no classes: nothing but the backbone, however many classes there are.

    Attributes:
        num_classes: outputs of the layer, 0 for none.
        dim: inputs of the layer.
        backbone_parameters: of the network below it.
    """

    num_classes: int
    dim: int
    backbone_parameters: int

    @property
    def layer_parameters(self) -> int:
        """Weights and biases of the layer."""
        return (self.dim + 1) * self.num_classes

    @property
    def parameters(self) -> int:
        """Of the whole model (Table 9)."""
        return self.backbone_parameters + self.layer_parameters

    @property
    def model_mib(self) -> float:
        """MiB on the device before training begins: the model size of Table 10."""
        return CONTEXT_MIB + 4 * self.parameters / MIB

    @property
    def optimizer_mib(self) -> float:
        """MiB that the layer takes in addition while it trains: gradient, two moments of AdamW."""
        return 12 * self.layer_parameters / MIB

    def logits_mib(self, batch_size: int) -> float:
        """MiB of the layer's outputs for a batch, and as much again for their gradient."""
        return 8 * batch_size * self.num_classes / MIB


def classifier_cost(num_classes: int, backbone: str = "ViT-B/16") -> ClassifierCost:
    """The cost of a classifier layer on one of `BACKBONES`.

    Args:
        num_classes: outputs of the layer, 0 for none.
        backbone: its name.

    Raises:
        ValueError: unknown backbone, or a negative number of classes.

    Example:
        >>> round(classifier_cost(10_000_000).model_mib), round(classifier_cost(0).model_mib)
        (30278, 943)
    """
    if backbone not in BACKBONES:
        raise ValueError(f"Argument 'backbone' must be one of {list(BACKBONES)}, not {backbone!r}.")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise ValueError(
            f"Argument 'num_classes' must be an integer of at least 0, not {num_classes!r}."
        )
    parameters, dim = BACKBONES[backbone]
    return ClassifierCost(num_classes, dim, parameters)
