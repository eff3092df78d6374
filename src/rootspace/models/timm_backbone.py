"""Any timm model as an embedding network."""

from __future__ import annotations

from torch import Tensor, nn

from rootspace._extras import require


class TimmBackbone(nn.Module):
    """A timm model without its classifier, projected to `dim` where that differs.

    `vit_small_patch16_224` gives 384 features and `vit_base_patch16_224` 768, as in the paper; no
    projection is added then.

    Args:
        name: of the model in timm.
        dim: of the embedding; None for the features as they are.
        in_channels: of the images.
        image_size: of the images, for models that are built for one size.
        pretrained: load timm's weights (needs network access or a local hub cache).

    Shape:
        `[B, in_channels, image_size, image_size]` float -> `[B, dim]`.

    Raises:
        ValueError: timm has no such model.
    """

    default_lr = 1e-4
    """AdamW's peak learning rate, the paper's (Sec. 4.1 of arXiv 2510.04090)."""

    def __init__(
        self,
        name: str,
        dim: int | None,
        in_channels: int = 3,
        image_size: int | None = None,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        timm = require("timm", extra="models", purpose=f"Model {name!r}")
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:5]
            hint = f"; timm has {', '.join(near)}, ..." if near else ""
            raise ValueError(f"Argument 'name' must be a timm model, not {name!r}{hint}.")
        arguments = {"num_classes": 0, "in_chans": in_channels, "pretrained": pretrained}
        if image_size is not None:
            try:
                self.backbone = timm.create_model(name, img_size=image_size, **arguments)
            except TypeError:  # a convolutional model takes any size and no such argument
                self.backbone = timm.create_model(name, **arguments)
        else:
            self.backbone = timm.create_model(name, **arguments)
        # Some families widen their features once more before the classifier.
        features = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.dim: int = features if dim is None else dim
        same = features == self.dim
        self.projection = nn.Identity() if same else nn.Linear(features, self.dim)

    @property
    def head(self) -> nn.Linear | None:
        """The projection, if there is one."""
        return self.projection if isinstance(self.projection, nn.Linear) else None

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(self.backbone(images))
