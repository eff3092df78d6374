"""What a synthetic run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HEADER = "epoch,step,seconds,lr,train/loss,train/accuracy"
CSV = f"""\
{HEADER},test/seen/accuracy,test/unseen/accuracy
1,10,50.25,0.001,2.5,0.4,0.35,0.1
2,20,100.5,0.0005,0.5,0.9,,
3,30,150.75,0.0001,0.01,0.98765,0.91234,0.5
"""


def metrics(**changes: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "finished": "2026-01-31 12:00:00",
        "method": "prototypes",
        "loss": "system_softmax",
        "system": "RootA(64)",
        "order": "shuffled",
        "num_classes": 20,
        "dim": 64,
        "epochs": 3,
        "seconds": 150.75,
        "seconds_per_epoch": 50.25,
        "peak_memory_mb": 1234.5,
        "device": "cpu",
        "batch_size": 32,
        "scale": 17.5,
        "parameters": {"backbone": 612345, "head": 0},
        "bytes_per_class": 0,
        "training_bytes_per_class": 0,
        "capacity": 4160,
        "min_angle": 45.0,
        "train": {"loss": 0.01, "accuracy": 0.98765},
        "test": {
            "seen": {"accuracy": 0.91234, "images": 2222},
            "unseen": {"accuracy": 0.5, "images": 1111},
        },
        "data": "20 characters in 3 fonts",
        "model": "tiny_cnn",
        **changes,
    }


def evaluation(
    dim: int = 64,
    num_classes: int = 20,
    channels: int = 1,
    side: int = 16,
    num_confusions: int = 3,
    names: list[str] | None = None,
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(num_classes, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([1, 4, 5], 6)
    embeddings = 7 * vectors[labels] + 0.3 * rng.normal(size=(18, dim))
    true = np.arange(num_confusions)
    images = rng.integers(0, 256, (3, num_confusions, channels, side, side), dtype=np.uint8)
    return {
        "embeddings": embeddings.astype(np.float32),
        "embedding_labels": labels,
        "class_vectors": vectors.astype(np.float32),
        "class_vector_labels": np.arange(num_classes),
        "confusion_set": np.array(["unseen"] * num_confusions, dtype=str),
        "confusion_true": true,
        "confusion_predicted": true + 1,
        "confusion_cosine": np.linspace(0.9, 0.5, num_confusions, dtype=np.float32),
        "confusion_images": images[0],
        "confusion_true_images": images[1],
        "confusion_predicted_images": images[2],
        "class_labels": np.arange(len(names) if names else num_classes),
        "class_names": np.array(names or [chr(0x4E00 + i) for i in range(num_classes)]),
    }


MakeRun = Callable[..., Path]
