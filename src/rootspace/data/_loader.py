"""A data loader that continues in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ._sampler import EpochSampler


class EpochLoader(DataLoader[Any]):
    """Batches in the order of an `EpochSampler`; its state is the number handed out so far.

    Lightning stores that state in checkpoints and restores it on resuming, so that a run killed
    within an epoch sees the rest of that epoch and no sample twice.

    Args:
        dataset: of the samples.
        sampler: their order.
        batch_size: of a batch; the last may be smaller.
        **arguments: of `torch.utils.data.DataLoader`.
    """

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **arguments: Any
    ) -> None:
        super().__init__(dataset, sampler=sampler, batch_size=batch_size, **arguments)
        self.epoch_sampler = sampler
        self._handed_out = 0
        self._resume_at = 0

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._handed_out, self._resume_at = self._resume_at, 0
        self.epoch_sampler.start = self._handed_out * (self.batch_size or 1)
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"batches": self._handed_out % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume_at = state["batches"]
