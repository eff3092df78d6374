"""Any timm model as an embedding network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from rootspace._extras import require

from .timm_weights import check_arguments, check_name, create_with_checkpoint, is_pretrained

LR, LR_WITHOUT_BATCH_NORM = 2e-3, 5e-4
"""AdamW's peak learning rate of new layers, measured (docs/pretrained.md)."""

PRETRAINED_LR_FACTOR = 0.1
"""Learning rate of pretrained layers relative to that of new ones (docs/pretrained.md)."""


class TimmBackbone(nn.Module):
    """A timm model without its classifier, projected to `dim` where that differs.

    `vit_small_patch16_224` gives 384 features and `vit_base_patch16_224` 768, as in the paper; no
    projection is added then. Weights may come from timm (`pretrained`, which needs network access
    or a local hub cache) or from a file (`checkpoint_path`); images are then scaled and normalized
    as those that the weights were trained on.

    Args:
        name: of the model in timm, with the tag of its weights or without: `resnet10t.c3_in1k`.
        dim: of the embedding; None for the features as they are.
        in_channels: of the images.
        image_size: of the images, for models that are built for one size.
        pretrained: load timm's weights.
        checkpoint_path: load these weights, which have those of the whole model, with a classifier
            or without: a safetensors file, a `state_dict` or a checkpoint of timm's by
            `torch.save` (read with `weights_only=True`, which runs no code), or a folder with
            config.json beside the weights, as the Hugging Face hub has it.
        freeze: which layers keep their weights, and their running statistics: so many groups from
            the input on, or `all` but the projection. The first group is the stem, the others are
            stages of a convolutional network or blocks of a transformer, as timm's
            `group_matcher(coarse=True)` has them.
        lr_factor: learning rate of the timm model relative to that of the projection; by default
            0.1 with weights that were trained before, else 1.
        model_kwargs: further arguments of `timm.create_model`, such as `drop_path_rate` and
            `global_pool`, `patch_size` of a ViT, or `pretrained_cfg_overlay`.
        load_weights: False leaves out weights that are named, for those that a run has learned
            from them.

    Shape:
        `[B, in_channels, image_size, image_size]` float -> `[B, dim]`.

    Raises:
        ValueError: timm has no such model, it does not take the arguments, or weights that are
            named cannot be had or are those of another model.
    """

    def __init__(
        self,
        name: str,
        dim: int | None,
        in_channels: int = 3,
        image_size: int | None = None,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        freeze: int | Literal["all"] | None = None,
        lr_factor: float | None = None,
        model_kwargs: dict[str, Any] | None = None,
        load_weights: bool = True,
    ) -> None:
        super().__init__()
        check_name(name)
        if lr_factor is not None and not lr_factor > 0:
            raise ValueError(
                f"Argument 'lr_factor' must be positive, not {lr_factor}; 'freeze' keeps weights."
            )
        arguments = model_kwargs or {}
        check_arguments(arguments)
        begins_trained = is_pretrained(pretrained, checkpoint_path)
        path = None if checkpoint_path is None else Path(checkpoint_path).expanduser()
        self.backbone = _create(
            name,
            {**arguments, "num_classes": 0, "in_chans": in_channels},
            image_size,
            pretrained and load_weights,
            path if load_weights else None,
        )
        # Some families widen their features once more before the classifier.
        features = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.dim: int = features if dim is None else dim
        same = features == self.dim
        self.projection = nn.Identity() if same else nn.Linear(features, self.dim)
        own = PRETRAINED_LR_FACTOR if begins_trained else 1.0
        self.lr_factor = own if lr_factor is None else lr_factor
        normalized = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        self.default_lr = LR if normalized else LR_WITHOUT_BATCH_NORM
        if freeze is not None:
            self._freeze(freeze)

    @property
    def head(self) -> nn.Linear | None:
        """The projection, if there is one."""
        return self.projection if isinstance(self.projection, nn.Linear) else None

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(self.backbone(images))

    def parameter_groups(self) -> Iterable[tuple[Iterable[nn.Parameter], float]]:
        """Parameters, and their learning rate relative to the peak."""
        return (self.backbone.parameters(), self.lr_factor), (self.projection.parameters(), 1.0)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Training mode; frozen layers stay in evaluation mode, so do their running statistics."""
        super().train(mode)
        for module in self.backbone.modules():
            own = [p.requires_grad for p in module.parameters()]
            if own and not any(own):
                module.eval()
        return self

    def _freeze(self, freeze: int | Literal["all"]) -> None:
        groups = _groups(self.backbone)
        number = len(groups) if freeze == "all" else freeze
        if (
            isinstance(number, bool)
            or not isinstance(number, int)
            or not 1 <= number <= len(groups)
        ):
            raise ValueError(
                f"Argument 'freeze' must be 'all' or a number of groups of layers from 1 to "
                f"{len(groups)}, not {freeze!r}."
            )
        for group in groups[:number]:
            for parameter in group:
                parameter.requires_grad_(False)
        self.train(self.training)


def _groups(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of a timm model in groups, from the input on."""
    timm = require("timm.models", extra="models", purpose="Freezing layers")
    named = dict(backbone.named_parameters())
    if not hasattr(backbone, "group_matcher"):
        return [list(named.values())]
    matcher = backbone.group_matcher(coarse=True)  # pyright: ignore[reportCallIssue]
    found: Mapping[int, list[str]] = timm.group_parameters(backbone, matcher)
    return [[named[name] for name in found[number]] for number in sorted(found)]


def _create(
    name: str,
    arguments: Mapping[str, Any],
    image_size: int | None,
    pretrained: bool,
    checkpoint: Path | None,
) -> Any:
    """A timm model of an image size where it takes one."""
    if image_size is not None:
        try:
            sized = {**arguments, "img_size": image_size}
            return _create_exactly(name, sized, pretrained, checkpoint)
        except TypeError:  # a convolutional model takes any size and no such argument
            pass
    try:
        return _create_exactly(name, arguments, pretrained, checkpoint)
    except TypeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Argument 'model_kwargs': {name}: {reason}.") from error


def _create_exactly(
    name: str, arguments: Mapping[str, Any], pretrained: bool, checkpoint: Path | None
) -> Any:
    timm = require("timm", extra="models", purpose=f"Model {name!r}")
    if checkpoint is not None:
        return create_with_checkpoint(name, checkpoint, arguments)
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except TypeError:
        raise
    except Exception as error:  # of the hub, the network, the disk
        if not pretrained:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"Argument 'pretrained': the weights of {name} cannot be had from timm ({reason}). "
            "Name a file of them as 'checkpoint_path'."
        ) from error
