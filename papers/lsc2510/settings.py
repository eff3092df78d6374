"""The paper's settings (Sec. 4.1, Table 2), and what stands for its data and models at a desk.

Where the paper gives no number (batch sizes, most epochs), those here are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rootspace._cpu import has_bfloat16

from .experiment import Scale, Settings

WIDTH = 8
"""Of the encoder at a desk: 0.16 M parameters instead of 9 M."""


def spec(class_path: str, **init_args: Any) -> Settings:
    """A class of rootspace and its arguments, as settings name it."""
    return {"class_path": f"rootspace.{class_path}", "init_args": init_args}


def own_spec(class_path: str, **init_args: Any) -> Settings:
    """A class of these experiments and its arguments, likewise."""
    return {"class_path": f"papers.lsc2510.{class_path}", "init_args": init_args}


COSINE = spec("losses.CosineLoss")
LIGHT1: dict[Scale, Settings] = {
    "paper": spec("data.Light1"),
    # A twentieth of a picture of 32 pixels shows nothing.
    "desk": spec("data.Light1", area=[0.8, 1.0]),
}
IMAGENET = "{data}/imagenet"
ENCODER: dict[Scale, Settings] = {
    "paper": spec("models.Encoder", width=64, normalize=False),
    "desk": spec("models.Encoder", width=WIDTH, normalize=False),
}

DATA: dict[str, dict[Scale, Settings]] = {
    # CINIC-10 without CIFAR's images, tested on itself and on CIFAR-10 | 1,000 pictures of each of
    # Fashion-MNIST's ten classes, tested on its test set.
    "cinic": {
        "paper": spec("data.CINIC10", root="{data}/cinic10", cifar10_root="{data}"),
        "desk": spec("data.FashionMNIST", images_per_class=1000),
    },
    # 84 classes of ImageNet-1K | 84 characters in the ten training faces of the DejaVu family.
    "i1kp": {
        "paper": spec("data.ImageFolder", root=IMAGENET, num_classes=84, image_size=224),
        "desk": spec("data.Characters", num_classes=84),
    },
    # ImageNet-1K | 1,000 characters.
    "i1k": {
        "paper": spec("data.ImageFolder", root=IMAGENET, image_size=224),
        "desk": spec("data.Characters", num_classes=1000),
    },
}

LOADERS: dict[str, dict[Scale, Settings]] = {
    "cinic": {"paper": {"batch_size": 256, "num_workers": 8}, "desk": {"batch_size": 125}},
    "i1kp": {"paper": {"batch_size": 256, "num_workers": 12}, "desk": {"batch_size": 32}},
    "i1k": {"paper": {"batch_size": 256, "num_workers": 12}, "desk": {"batch_size": 250}},
}

MODELS: dict[str, dict[Scale, Settings]] = {
    "encoder": ENCODER,
    # Patches of 8 pixels for images of 32, of which 16 would leave four.
    "vit_s_32": {
        "paper": spec("models.TimmBackbone", name="vit_small_patch8_224"),
        "desk": own_spec("networks.PatchNetwork"),
    },
    # No vision transformer of this kind learns from so few small images.
    "vit_s": {
        "paper": spec("models.TimmBackbone", name="vit_small_patch16_224"),
        "desk": own_spec("networks.PatchNetwork"),
    },
}

OPTIMIZER: Settings = {
    "class_path": "torch.optim.AdamW",
    "init_args": {"weight_decay": 1e-5},
}
TRAIN: dict[Scale, Settings] = {
    "paper": {"lr": 1e-4, "schedule": "constant", "warmup_steps": 0, "precision": "bf16"},
    # A desk has a hundredth of the steps: a larger rate, which falls to zero.
    "desk": {
        "lr": 3e-3,
        "schedule": "cosine",
        "warmup_steps": 60,
        "precision": "bf16" if has_bfloat16() else "32",
    },
}


def settings(
    scale: Scale,
    *,
    data: str,
    model: str,
    epochs: int,
    dim: int | None = None,
    system: str | None = None,
    prototypes: Settings | None = None,
    loss: Settings | None = COSINE,
    learned: bool = False,
    augmented: bool = False,
    data_changes: Settings | None = None,
    loader_changes: Settings | None = None,
    train_changes: Settings | None = None,
    model_changes: Settings | None = None,
    init: str | None = None,
) -> dict[str, Any]:
    """Settings of a training run as `rootspace train --config` takes them.

    Args:
        scale: which column of the tables above.
        data: of `DATA`.
        model: of `MODELS`.
        epochs: of training.
        dim: of the embedding, None for the vector system's.
        system: of vectors.
        prototypes: section `prototypes`; `source` is `formula`, the paper's, unless it says else.
        loss: section `loss`, None for the library's own.
        learned: train a linear layer with cross-entropy instead.
        augmented: transform training images by light1.
        data_changes: arguments that replace those of `DATA` or come on top.
        loader_changes: likewise of `LOADERS`.
        train_changes: likewise of `TRAIN`.
        model_changes: likewise of `MODELS`.
        init: run folder whose network to begin with.
    """
    prototypes = {"source": "formula", **(prototypes or {})}
    if learned:
        head = spec("heads.LinearHead", dim=dim)
    else:
        given = {"dim": dim, "system": system}
        towards_targets = prototypes["source"] in ("file", "teacher")
        if towards_targets or (prototypes["source"] == "data" and loss is not None):
            given["contrastive_weight"] = 0.0  # one loss alone, the paper's if it is given
        known = {name: value for name, value in given.items() if value is not None}
        head = spec("heads.PrototypeHead", **known)
    sections: dict[str, Any] = {
        "data": changed(DATA[data][scale], data_changes),
        "loader": {**LOADERS[data][scale], **(loader_changes or {})},
        "model": changed(MODELS[model][scale], model_changes),
        "head": head,
        "prototypes": prototypes,
        "optimizer": OPTIMIZER,
        "train": {
            **TRAIN[scale],
            "epochs": epochs,
            "eval_every": max(1, epochs // 10),
            **(train_changes or {}),
        },
    }
    if not learned and loss is not None:
        sections["loss"] = loss
    if augmented:
        sections["transform"] = LIGHT1[scale]
    elif sections["data"]["class_path"] == "rootspace.data.ImageFolder":
        sections["transform"] = spec("data.Unchanged")  # the library would augment by default
    if init is not None:
        sections["run"] = {"init": init}
    return sections


def changed(given: Settings, changes: Mapping[str, Any] | None) -> Settings:
    """The same class with other arguments."""
    return {**given, "init_args": {**given["init_args"], **(changes or {})}}
