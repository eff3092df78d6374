"""Lightning callbacks: prototypes chosen at the right moments of anybody's training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ._checks import check_kind, integer, wrong_kind
from .choosing import Network, choose_prototypes, module_of
from .classes import Assignment
from .heads import PrototypeHead
from .runs import ChoiceRecord
from .sampling import InOrder, ResumableLoader

Again = Literal["end", "epochs", "never"]


class ChoosePrototypes(L.Callback):
    """Chooses the prototypes of a `PrototypeHead` while a `Trainer` trains.

    First after a share of the epochs, then again after the last one, before its validation, where
    look-alikes are told apart best. The state is in Lightning's checkpoints, the prototypes in the
    module's `state_dict`: a resumed run goes on as one that was never stopped.

    Where training ends early (`EarlyStopping`, `max_time`), prototypes are chosen again after it,
    when checkpoints have been written: save the module then.

    Args:
        after: share of the epochs that come before the first choice, in [0, 1]; or how many, if an
            integer. 0 is before the first step.
        refine: rounds in which the means are moved to where similar classes are told apart, in the
            later choices.
        again: `end` chooses again after the last epoch, `epochs` after every one, `never` not.
        follow: prototypes follow the network from the first choice to the last
            (`PrototypeHead.follow`); not with `never`.
        head: attribute of the LightningModule that is the head.
        network: from the LightningModule to the network whose embeddings the head gets; by default
            the module itself, whose `forward` returns embeddings.
        loader: from the trainer to a loader of all training data; by default the training data
            set in order, with the training loader's batch size, workers and `collate_fn`, and
            through the batch transfer hooks of the module or its data module.

    Raises:
        TypeError: an object in the place of an attribute's name or of a function.
        ValueError: arguments out of range; or, when training begins, a callback of Lightning that
            averages weights.

    Example:
        >>> trainer = Trainer(max_epochs=5, callbacks=[ChoosePrototypes()])  # doctest: +SKIP
    """

    def __init__(
        self,
        after: float = 0.1,
        refine: int = 8,
        *,
        again: Again = "end",
        follow: bool = True,
        head: str = "head",
        network: Callable[[Any], Network] | None = None,
        loader: Callable[[L.Trainer], Iterable[Any]] | None = None,
    ) -> None:
        number = isinstance(after, int | float) and not isinstance(after, bool)
        if not number or not after >= 0 or (isinstance(after, float) and after > 1):
            raise ValueError(
                "Argument 'after' must be a share of the epochs in [0, 1] or a number of epochs, "
                f"not {after!r}."
            )
        check_kind(
            "head", head, str, "the name of the LightningModule's attribute that is the head"
        )
        for name, value in (("network", network), ("loader", loader)):
            # A module can be called, but not with a LightningModule.
            if value is not None and (not callable(value) or isinstance(value, nn.Module)):
                whose = "LightningModule" if name == "network" else "Trainer"
                raise wrong_kind(name, value, f"a function from the {whose} to a {name}")
        if again not in get_args(Again):
            raise ValueError(
                f"Argument 'again' must be one of {', '.join(get_args(Again))}, not {again!r}."
            )
        self.after = after
        self.refine = integer("refine", refine, 0)
        self.again = again
        self.follow = follow
        self.head = head
        self.network = network
        self.loader = loader
        self.chosen_after: int | None = None
        """Epochs that were behind the latest choice."""
        self.fit: ChoiceRecord | None = None
        """How well the latest choice fits, without the smallest angle."""

    @property
    def state_key(self) -> str:
        # A module may have several heads, each with a callback of its own.
        return self._generate_state_key(head=self.head)

    def state_dict(self) -> dict[str, object]:
        fit = None if self.fit is None else asdict(self.fit)
        return {"chosen_after": self.chosen_after, "fit": fit}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.chosen_after, fit = state_dict["chosen_after"], state_dict["fit"]
        self.fit = None if fit is None else ChoiceRecord(**fit)

    def first(self, max_epochs: int) -> int:
        """Epochs before the first choice."""
        if isinstance(self.after, int):
            return self.after
        return max(1, round(self.after * max_epochs)) if self.after else 0

    def due(self, ready: bool, done: int, max_epochs: int) -> bool:
        """Whether to choose after `done` of `max_epochs` epochs; once for each number."""
        if self.chosen_after == done:
            return False
        if not ready:
            return done >= self.first(max_epochs)
        return self.again == "epochs" or (self.again == "end" and done == max_epochs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        # Of another training; that of this one, if it is resumed, is loaded after this.
        self.chosen_after = self.fit = None
        head: PrototypeHead | None = getattr(pl_module, self.head, None)
        if head is None or not callable(getattr(head, "choose", None)):
            raise ValueError(
                f"Argument 'head' must name a PrototypeHead of the LightningModule: "
                f"{type(pl_module).__name__}.{self.head} is {type(head).__name__}."
            )
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
                raise ValueError(
                    f"ChoosePrototypes does not go with {type(callback).__name__}: prototypes fit "
                    "the network that trains, not an average of its weights. Average them in a "
                    "loop of your own, and call choose_prototypes once more for the average."
                )
        if (trainer.max_epochs or -1) < 1:
            raise ValueError(
                "ChoosePrototypes needs to know how long training takes: set Trainer(max_epochs)."
            )
        if not head.ready and self.first(trainer.max_epochs or 0) > (trainer.max_epochs or 0):
            raise ValueError(
                f"Argument 'after' must be at most the {trainer.max_epochs} epochs of the Trainer, "
                f"not {self.after}."
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.loader is None:
            _all_inputs(trainer)  # one that cannot be used shows now, not after some epochs

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.choose_if_due(trainer, pl_module, trainer.current_epoch)
        head: PrototypeHead = getattr(pl_module, self.head)
        if self._follows_after(trainer, trainer.current_epoch) and _can_follow(head):
            head.follow()  # those of a training that had come to its end, and goes on
        # For the sampler, which looks at them now and no more until the next epoch.
        head.catch_up()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.is_last_batch:  # and validation comes next
            self.choose_if_due(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Of a run that ended before its last epoch; else there is nothing left to do.
        head: PrototypeHead = getattr(pl_module, self.head)
        early = trainer.current_epoch < (trainer.max_epochs or 0)
        due = not head.ready or (
            self.again != "never" and self.chosen_after != trainer.current_epoch
        )
        if early and due:
            self.choose(trainer, pl_module, trainer.current_epoch)
        head.settle()

    def choose_if_due(self, trainer: L.Trainer, pl_module: L.LightningModule, done: int) -> None:
        """Choose after `done` epochs, if it is time to."""
        head: PrototypeHead = getattr(pl_module, self.head)
        if self.due(head.ready, done, trainer.max_epochs or 0):
            self.choose(trainer, pl_module, done)

    def choose(self, trainer: L.Trainer, pl_module: L.LightningModule, done: int) -> None:
        """Choose now, after `done` epochs."""
        head: PrototypeHead = getattr(pl_module, self.head)
        given = pl_module if self.network is None else self.network(pl_module)
        network = _Converting(given, trainer.precision_plugin.convert_input)
        loader = _all_inputs(trainer) if self.loader is None else self.loader(trainer)
        with trainer.precision_plugin.forward_context():
            found = choose_prototypes(
                head,
                network,
                loader,
                refine=self.refine if head.ready else 0,
                follow=self._follows_after(trainer, done),
                device=pl_module.device,
            )
        self.chosen_after = done
        self.fit = choice_record(found)

    def _follows_after(self, trainer: L.Trainer, done: int) -> bool:
        """Whether prototypes follow the network once `done` epochs are over."""
        return self.follow and self.again != "never" and done < (trainer.max_epochs or 0)


def _can_follow(head: PrototypeHead) -> bool:
    """Whether prototypes that are held now could follow the network."""
    class_map = head.class_map
    return not head.follows and class_map is not None and class_map.order == "assigned"


def choice_record(found: Assignment) -> ChoiceRecord:
    """How well chosen prototypes fit, without their smallest angle, which may take longer."""
    return ChoiceRecord(
        mean_cosine=found.mean_cosine,
        collisions=found.collisions,
        method=found.method,
        seconds=round(found.seconds, 3),
    )


class _Converting(nn.Module):
    """A network whose inputs are made what the Trainer's precision makes of a batch."""

    def __init__(self, network: Network, convert: Callable[[Any], Any]) -> None:
        super().__init__()
        self.network, self.convert = network, convert
        self.module = module_of(network)  # also where the network is a method of it

    def forward(self, x: Any) -> Tensor:
        return self.network(self.convert(x))


class _Transferred(ResumableLoader):
    """A loader whose batches go through Lightning's hooks, as those that the module trains on."""

    def __init__(self, trainer: L.Trainer, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._trainer = trainer

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return map(self._trainer.strategy.batch_to_device, super().__iter__())


def _all_inputs(trainer: L.Trainer) -> Iterable[Any]:
    """The training data in order, as the training loader collates them."""
    training = trainer.train_dataloader
    if not isinstance(training, DataLoader) or isinstance(training.dataset, IterableDataset):
        found = training.dataset if isinstance(training, DataLoader) else training
        raise ValueError(
            "Argument 'loader' of ChoosePrototypes must be given: the Trainer's training data are "
            f"no DataLoader of a map-style data set, but {type(found).__name__}."
        )
    size = training.batch_size or getattr(training.batch_sampler, "batch_size", 256)
    return _Transferred(
        trainer,
        training.dataset,
        batch_sampler=InOrder(len(training.dataset), size),  # pyright: ignore[reportArgumentType]
        num_workers=training.num_workers,
        collate_fn=training.collate_fn,
        pin_memory=training.pin_memory,
        worker_init_fn=training.worker_init_fn,
    )
