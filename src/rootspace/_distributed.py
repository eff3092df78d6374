"""Whether several processes work together."""

from __future__ import annotations

import torch.distributed


def is_distributed() -> bool:
    """Whether this process is one of those of a distributed run."""
    # Some builds of torch have no such runs.
    return torch.distributed.is_available() and torch.distributed.is_initialized()
