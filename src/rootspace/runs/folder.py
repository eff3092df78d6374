"""Names of the files of a run folder."""

from __future__ import annotations

CONFIG, CLASSES, WEIGHTS = "config.yaml", "classes.json", "model.safetensors"
METRICS, HISTORY, EVALUATION = "metrics.json", "metrics.csv", "evaluation.npz"
CHECKPOINTS, BASELINES, SAMPLES = "checkpoints", "baselines", "samples"
LAST = f"{CHECKPOINTS}/last.ckpt"

# Of runs that `rootspace extend` wrote: what they began from, and what they remember.
PARENT, START, REPLAY = "parent", "start", "replay"

# Of runs that `rootspace distill` wrote: whom they learned from, and what.
TEACHER, TARGETS, VECTORS = "teacher", "targets", "vectors.npy"
