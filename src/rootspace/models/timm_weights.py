"""Weights of timm models: from timm's own place, a file or a folder; and the images they expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from rootspace._extras import require

INTERPOLATIONS = ("bilinear", "bicubic")
"""That images can be scaled with here; all of timm's weights were trained on one of them."""

FILES = ("model.safetensors", "pytorch_model.bin")
"""Of weights, in a folder as timm's `save_for_hf` and the Hugging Face hub write it."""

CONFIG = "config.json"
"""Beside them: the architecture, and what images they were trained on."""

OWN_ARGUMENTS = ("num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path")
"""Of `timm.create_model`, which other settings give."""

_CFG = ("pretrained_cfg", "pretrained_cfg_overlay")

State: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class ExpectedImages:
    """What images some weights were trained on, as timm's `pretrained_cfg` has it.

    Attributes:
        size: height and width in pixels; None where they were not square.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        interpolation: that they were scaled with; None for one that is not known here.
    """

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | None

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of images with so many channels: of another number, the average of each."""
        if len(self.mean) == len(self.std) == channels:
            return self.mean, self.std
        mean, std = (round(sum(values) / len(values), 6) for values in (self.mean, self.std))
        return (mean,) * channels, (std,) * channels


def is_pretrained(pretrained: bool, checkpoint_path: str | None) -> bool:
    """Whether settings of a timm model name weights.

    Raises:
        ValueError: they name two.
    """
    if pretrained and checkpoint_path is not None:
        raise ValueError(
            "Argument 'checkpoint_path' must be left out where 'pretrained' is true, not "
            f"{checkpoint_path!r}: the one loads a file, the other timm's own weights."
        )
    return pretrained or checkpoint_path is not None


def check_name(name: str) -> None:
    """Raise a ValueError unless timm has a model of this name."""
    timm = require("timm", extra="models", purpose=f"Model {name!r}")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:5]
        hint = f"; timm has {', '.join(near)}, ..." if near else ""
        raise ValueError(f"Argument 'name' must be a timm model, not {name!r}{hint}.")


def check_arguments(model_kwargs: Mapping[str, Any]) -> None:
    """Raise a ValueError where arguments of `timm.create_model` have a setting of their own."""
    taken = [name for name in OWN_ARGUMENTS if name in model_kwargs]
    if taken:
        raise ValueError(
            f"Argument 'model_kwargs' must not hold {taken[0]!r}: other settings give it."
        )


def expected_images(
    name: str,
    pretrained: bool = False,
    checkpoint_path: str | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> ExpectedImages | None:
    """What images the weights of a timm model were trained on, without building it.

    That of a file is what timm has for the model, that of a folder what its config.json says, and
    `pretrained_cfg_overlay` in `model_kwargs` has the last word, as in timm.

    Args:
        name: of the model.
        pretrained: as of `TimmBackbone`.
        checkpoint_path: likewise.
        model_kwargs: likewise.

    Returns:
        None where the settings name no weights.

    Raises:
        ValueError: no such model, or a folder without its config.json.
    """
    if not is_pretrained(pretrained, checkpoint_path):
        return None
    check_name(name)
    own = None if checkpoint_path is None else _config_of(Path(checkpoint_path), name)
    cfg = _resolved(name, own, model_kwargs or {})
    _, *size = cfg.input_size
    return ExpectedImages(
        size[0] if size[0] == size[1] else None,
        tuple(cfg.mean),
        tuple(cfg.std),
        cfg.interpolation if cfg.interpolation in INTERPOLATIONS else None,
    )


def create_with_checkpoint(name: str, path: Path, arguments: Mapping[str, Any]) -> nn.Module:
    """A timm model with the weights of a file, whose classifier is left out.

    timm's own loading, which resamples position embeddings to another image size and sums the
    filters of the first layer for gray images; but each weight of the model must be there.

    Args:
        name: of the model.
        path: of the file, or of a folder with config.json.
        arguments: of `timm.create_model`.

    Raises:
        ValueError: naming the file: it is missing, cannot be read, or holds other weights.
        TypeError: the model takes no such arguments.
    """
    timm = require("timm", extra="models", purpose=f"Model {name!r}")
    own = _config_of(path, name)
    without = {k: v for k, v in arguments.items() if k not in _CFG}
    plain = timm.create_model(name, pretrained=False, **without)
    cfg = _resolved(name, own, arguments)
    classifiers = tuple(f"{layer}." for layer in _names(cfg.classifier))
    state = {k: v for k, v in _read_state(path).items() if not k.startswith(classifiers)}
    fits = all(
        f"{layer}.weight" in state and state[f"{layer}.weight"].shape == module.weight.shape
        for layer in _names(cfg.first_conv)
        if isinstance(module := plain.get_submodule(layer), nn.Conv2d)
    )
    _, *size = cfg.input_size
    overlay = {
        **(arguments.get("pretrained_cfg_overlay") or {}),
        **{"state_dict": state, "source": "", "custom_load": False},
        # As many as the model has: else timm would let weights be missing.
        **{"num_classes": 0, "label_offset": 0},
        # Weights for these channels are for no others, whatever the model's own are for.
        **({"input_size": (arguments.get("in_chans", 3), *size)} if fits else {}),
    }
    try:
        model = timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg=own,
            pretrained_cfg_overlay=overlay,
            **without,
        )
    except Exception as error:  # the conversions of some families raise kinds of their own
        reason = _difference(plain, state) or " ".join(str(error).split())
        raise ValueError(
            f"Argument 'checkpoint_path': {path} does not hold the weights of {name} for these "
            f"images: {reason}."
        ) from error
    model.pretrained_cfg.pop("state_dict", None)  # would be kept with the model
    return model


def _names(layers: str | Sequence[str] | None) -> Sequence[str]:
    """Of one layer or several, as timm has them."""
    return (layers,) if isinstance(layers, str) else layers or ()


def _resolved(name: str, own: dict[str, Any] | None, arguments: Mapping[str, Any]) -> Any:
    """timm's `PretrainedCfg` of a model."""
    models = require("timm.models", extra="models", purpose=f"Model {name!r}")
    return models.resolve_pretrained_cfg(
        name,
        pretrained_cfg=own if own is not None else arguments.get("pretrained_cfg"),
        pretrained_cfg_overlay=arguments.get("pretrained_cfg_overlay"),
    )


def _config_of(path: Path, name: str) -> dict[str, Any] | None:
    """What config.json of a folder says of its weights; None for a file.

    Raises:
        ValueError: there is no such file or folder, or it is of another architecture.
    """
    if path.is_file():
        return None
    place = path / CONFIG
    if not place.is_file():
        found = f"{path} has none" if path.is_dir() else f"{path} does not exist"
        raise ValueError(
            f"Argument 'checkpoint_path' must be a file of weights, or a folder with {CONFIG}: "
            f"{found}."
        )
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        architecture, cfg = content["architecture"], dict(content["pretrained_cfg"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"Argument 'checkpoint_path': {place} must hold 'architecture' and 'pretrained_cfg', "
            "as timm writes them."
        ) from error
    if architecture != name.partition(".")[0]:
        raise ValueError(
            f"Argument 'checkpoint_path': {path} holds weights of {architecture!r}, not of "
            f"{name!r} ('name')."
        )
    return cfg


def _read_state(path: Path) -> State:
    """The tensors of a file, by name; no code in it is run."""
    models = require("timm.models", extra="models", purpose="Reading weights")
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise ValueError(
                f"Argument 'checkpoint_path': {path} must hold {' or '.join(FILES)} beside "
                f"{CONFIG}."
            )
        path = found[0]
    try:
        state = dict(models.load_state_dict(str(path), weights_only=True))
    except Exception as error:  # torch, pickle and safetensors each raise kinds of their own
        reason = (str(error).strip().splitlines() or [""])[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"Argument 'checkpoint_path': {path} cannot be read as weights "
            f"({type(error).__name__}: {reason})."
        ) from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"Argument 'checkpoint_path': {path} must hold a state_dict, names with tensors, and "
            "nothing else."
        )
    return state


def _difference(model: nn.Module, state: State) -> str:
    """How weights differ from those that a model takes."""
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    other = [name for name in state if name not in own]
    shapes = [k for k, v in own.items() if k in state and v.shape != state[k].shape]
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(own)} are missing, the first is {missing[0]!r}")
    if shapes:
        first = shapes[0]
        found.append(
            f"{len(shapes)} have another shape, the first is {first!r} with "
            f"{list(state[first].shape)} instead of {list(own[first].shape)}"
        )
    if other:
        found.append(f"{len(other)} are none of the model's, the first is {other[0]!r}")
    return "; ".join(found)
