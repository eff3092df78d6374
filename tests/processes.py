"""Processes that begin at once, for tests that kill them."""

from __future__ import annotations

import multiprocessing

# A server that has imported everything forks the processes: a start takes milliseconds. It is one
# for all tests.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("hypothesis", "jsonargparse", "plotly.graph_objects", "rootspace.continual"),
        *("rootspace.cli.extend", "rootspace.cli.distill", "rootspace.cli.compare"),
        *("rootspace.cli.predict", "rootspace.cli.evaluate", "rootspace.cli.embed"),
        *("rootspace.cli.classes", "rootspace.cli.calibrate", "rootspace.cli.report"),
        *("lightning.pytorch.loggers", "torch.utils.tensorboard", "torchmetrics"),
        *("rootspace.gallery", "pyarrow"),
        *("safetensors.torch", "scipy.optimize", "filelock", "rich.progress"),
    ]
)
