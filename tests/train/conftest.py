"""A run that loses its process, as the others see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import lightning as L
import pytest

from rootspace.train.callbacks import Checkpoints


class Lost(Exception):
    """The process ended here."""


@pytest.fixture
def lost_after() -> Callable[[int], AbstractContextManager[None]]:
    """A run within the block ends once the checkpoint of an epoch is written, without any trace."""

    @contextmanager
    def losing(epoch: int) -> Iterator[None]:
        original = Checkpoints.on_train_epoch_end

        def lose(self: Checkpoints, trainer: L.Trainer, module: L.LightningModule) -> None:
            original(self, trainer, module)
            if trainer.current_epoch + 1 == epoch:
                raise Lost

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "on_train_epoch_end", lose)
            with pytest.raises(Lost):
                yield

    return losing
