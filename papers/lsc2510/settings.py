"""The paper's settings (Sec. 4.1, Table 2), and what stands for its data and models at a desk.

Where the paper gives no number (batch sizes, most epochs), those here are ours.
"""

from __future__ import annotations

from typing import Any

from .experiment import Scale, Settings

WIDTH = 16
"""Of the encoder at desk scale: 0.6 M parameters instead of 9 M."""

DATA: dict[str, dict[Scale, Settings]] = {
    # CINIC-10 without CIFAR's images, tested on itself and on CIFAR-10 | 1,000 pictures of each of
    # Fashion-MNIST's ten classes, tested on its test set.
    "cinic": {
        "paper": {
            "name": "cinic10",
            "root": "{data}/cinic10",
            "cifar10_root": "{data}",
            "batch_size": 256,
            "num_workers": 8,
        },
        "desk": {"name": "fashion_mnist", "images_per_class": 1000, "batch_size": 64},
    },
    # 84 classes of ImageNet-1K | 84 characters in the ten training faces of the DejaVu family.
    "i1kp": {
        "paper": {
            "name": "image_folder",
            "root": "{data}/imagenet",
            "num_classes": 84,
            "image_size": 224,
            "batch_size": 256,
            "num_workers": 12,
        },
        "desk": {"name": "characters", "num_classes": 84, "batch_size": 32},
    },
    # ImageNet-1K | 1,000 characters.
    "i1k": {
        "paper": {
            "name": "image_folder",
            "root": "{data}/imagenet",
            "image_size": 224,
            "batch_size": 256,
            "num_workers": 12,
        },
        "desk": {"name": "characters", "num_classes": 1000, "batch_size": 64},
    },
}

MODELS: dict[str, dict[Scale, Settings]] = {
    "encoder": {
        "paper": {"name": "encoder", "width": 64, "normalize": False},
        "desk": {"name": "encoder", "width": WIDTH, "normalize": False},
    },
    # Patches of 8 pixels for images of 32, of which 16 would leave four.
    "vit_s_32": {
        "paper": {"name": "vit_small_patch8_224"},
        "desk": {"name": "encoder", "width": WIDTH, "normalize": False},
    },
    # No vision transformer of this kind learns from so few small images: the encoder stands for it.
    "vit_s": {
        "paper": {"name": "vit_small_patch16_224"},
        "desk": {"name": "encoder", "width": WIDTH, "normalize": False},
    },
}

TRAIN: dict[Scale, Settings] = {
    "paper": {
        "lr": 1e-4,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "warmup_steps": 0,
        "precision": "bf16",
    },
    # A desk has a hundredth of the steps.
    "desk": {
        "lr": 1e-3,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "warmup_steps": 0,
        "precision": "bf16",
    },
}


def settings(
    scale: Scale,
    *,
    data: str,
    model: str,
    dim: int | None = None,
    classes: Settings | None = None,
    loss: Settings | str = "cosine",
    epochs: int,
    data_changes: Settings | None = None,
    train_changes: Settings | None = None,
    model_changes: Settings | None = None,
    init: str | None = None,
) -> dict[str, Any]:
    """Settings of a training run as `rootspace train --config` takes them.

    Args:
        scale: which column of the tables above.
        data: of `DATA`.
        model: of `MODELS`.
        dim: of the embedding, None for the vector system's.
        classes: section `classes`; by default none, for a learned head. Without an `assignment` it
            is `random`, the paper's.
        loss: section `loss`, or the name of one.
        epochs: of training.
        data_changes: settings that replace those of `DATA` or come on top.
        train_changes: likewise of `TRAIN`.
        model_changes: likewise of `MODELS`.
        init: run folder whose network to begin with.
    """
    sections: dict[str, Any] = {
        "data": {**DATA[data][scale], **(data_changes or {})},
        "model": {**MODELS[model][scale], "dim": dim, **(model_changes or {})},
        # A learned head has no vectors; the paper's random assignment asks for the least then too.
        "classes": {"assignment": "random", **(classes or {})},
        "loss": {"name": loss} if isinstance(loss, str) else dict(loss),
        "train": {
            **TRAIN[scale],
            "epochs": epochs,
            "eval_every": max(1, epochs // 10),
            **(train_changes or {}),
        },
    }
    if init is not None:
        sections["run"] = {"init": init}
    return sections
