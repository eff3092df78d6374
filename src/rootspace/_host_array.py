"""Rows of all classes: on the host, whatever device asks for some of them."""

from __future__ import annotations

import torch
from torch import Tensor

HOST = "cpu"
"""Type of the device where all rows are."""

ON_DEVICE = 2**22
"""Bytes up to which another device keeps a copy of them all."""


class HostArray:
    """Rows that are kept on the host, and where they are few on other devices as well.

    Args:
        rows: `[C, ...]`.
    """

    def __init__(self, rows: Tensor) -> None:
        rows = rows.detach().cpu()
        with torch.inference_mode(False):  # what is kept must do for training as well
            self.rows = rows.clone() if rows.is_inference() else rows
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor | None:
        """All rows on this device; None where they are too many for any but the host."""
        if device.type == HOST:
            return self.rows
        if self.rows.numel() * self.rows.element_size() > ON_DEVICE:
            return None
        if device not in self._copies:
            with torch.inference_mode(False):
                self._copies[device] = self.rows.to(device)
        return self._copies[device]

    def take(self, index: Tensor) -> Tensor:
        """`[N]` int64 -> the `[N, ...]` rows, on the device of the index."""
        rows = self.on(index.device)
        return self.rows[index.cpu()].to(index.device) if rows is None else rows[index]

    def part(self, start: int, stop: int, device: torch.device) -> Tensor:
        """The rows from `start` to `stop` on this device."""
        rows = self.on(device)
        return self.rows[start:stop].to(device) if rows is None else rows[start:stop]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_copies": {}}
