"""ChoosePrototypes in anybody's LightningModule: when it chooses, and resuming to the bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from rootspace import ChoosePrototypes, ClassBatchSampler, PrototypeHead
from rootspace.callbacks import Again
from rootspace.choosing import share_prototypes
from rootspace.sampling import ResumableLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
]

C, DIM, N = 12, 16, 90


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(N) % C
    x = torch.randn(C, 8, generator=generator)[y] + 0.3 * torch.randn(N, 8, generator=generator)
    return TensorDataset(x, y)


class Module(L.LightningModule):
    def __init__(self, head: PrototypeHead | None = None) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.net = nn.Sequential(
            nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, DIM)
        )
        self.head = PrototypeHead(C, DIM) if head is None else head
        self.stages: list[tuple[int, bool]] = []
        self.validated: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        assert self.net.training
        self.stages.append((self.current_epoch, self.head.ready))
        loss = self.head(self(x), y)
        self.log("loss", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.head.ready:
            self.validated.append(self.head.vectors(torch.arange(C)))
            self.head.predict(self(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


class Recorded(ChoosePrototypes):
    """Remembers after how many epochs it chose, and with how many rounds."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.times: list[tuple[int, int]] = []

    def choose(self, trainer: L.Trainer, pl_module: L.LightningModule, done: int) -> None:
        ready = getattr(pl_module, self.head).ready
        super().choose(trainer, pl_module, done)
        self.times.append((done, self.refine if ready else 0))


def trainer(epochs: int | None, *callbacks: L.Callback, **more: Any) -> L.Trainer:
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": epochs,
            "callbacks": list(callbacks),
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            **more,
        }
    )


def loader(head: PrototypeHead, workers: int = 0) -> ResumableLoader:
    labels = data().tensors[1]
    sampler = ClassBatchSampler(labels, 16, similar=head, neighbors=4)
    return ResumableLoader(data(), batch_sampler=sampler, num_workers=workers)


# -------------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("after", "again", "times"),
    [
        (0.4, "end", [(2, 0), (5, 8)]),
        (0, "end", [(0, 0), (5, 8)]),
        (0.0, "end", [(0, 0), (5, 8)]),
        (0.01, "end", [(1, 0), (5, 8)]),
        (2, "end", [(2, 0), (5, 8)]),
        (1.0, "end", [(5, 0)]),
        (5, "end", [(5, 0)]),
        (0.4, "epochs", [(2, 0), (3, 8), (4, 8), (5, 8)]),
        (0, "epochs", [(0, 0), (1, 8), (2, 8), (3, 8), (4, 8), (5, 8)]),
        (0.4, "never", [(2, 0)]),
        (1.0, "never", [(5, 0)]),
    ],
)
def test_when_prototypes_are_chosen(
    after: float, again: Again, times: list[tuple[int, int]]
) -> None:
    module, choosing = Module(), Recorded(after, again=again)
    trainer(5, choosing).fit(module, loader(module.head), DataLoader(data(), 32))
    assert choosing.times == times
    first = times[0][0]
    assert {epoch for epoch, ready in module.stages if not ready} == set(range(first))
    assert {epoch for epoch, ready in module.stages if ready} == set(range(first, 5))
    assert choosing.fit is not None
    assert choosing.fit.mean_cosine > 0 and module.head.class_map is not None
    assert choosing.fit.smallest_angle is None, "it takes O(C^2 * dim) time"
    assert choosing.chosen_after == times[-1][0]
    # The last validation saw the last choice.
    assert module.validated[-1].equal(module.head.vectors(torch.arange(C)))
    assert trainer(1).validate(module, DataLoader(data(), 32), verbose=False) == [{}]


def test_refine_and_a_head_that_has_prototypes() -> None:
    head = PrototypeHead(C, DIM)
    head.choose(torch.randn(C, DIM))
    module, choosing = Module(head), Recorded(0.5, refine=3)
    trainer(4, choosing).fit(module, loader(module.head))
    assert choosing.times == [(4, 3)]


def test_the_same_callback_in_another_training() -> None:
    choosing = Recorded(1.0)
    for _ in range(2):
        module = Module()
        trainer(2, choosing).fit(module, loader(module.head))
        assert module.head.ready
    assert choosing.times == [(2, 0), (2, 0)]


@pytest.mark.parametrize(
    ("after", "again", "times"),
    [
        (0.2, "end", [(2, 0), (3, 8)]),
        (0.2, "never", [(2, 0)]),
        (0.9, "end", [(3, 0)]),
        (0.9, "never", [(3, 0)]),
        (0.2, "epochs", [(2, 0), (3, 8)]),
    ],
)
def test_early_stopping(after: float, again: Again, times: list[tuple[int, int]]) -> None:
    module, choosing = Module(), Recorded(after, again=again)
    stop = EarlyStopping("loss", patience=1, min_delta=100.0, check_on_train_epoch_end=True)
    stop.patience = 2
    trainer(10, choosing, stop).fit(module, loader(module.head))
    assert choosing.times == times
    assert module.head.ready


def test_max_steps_within_an_epoch() -> None:
    module, choosing = Module(), Recorded(1)
    trainer(9, choosing, max_steps=8).fit(module, loader(module.head))
    assert choosing.times[0] == (1, 0)
    assert len(choosing.times) == 2  # and after the step at which it ended
    assert choosing.times[1][1] == 8


# -------------------------------------------------------------------- network, loader, precision


def test_default_loader_is_the_training_data_in_order() -> None:
    seen: list[Tensor] = []

    class Watched(Module):
        def forward(self, x: Tensor) -> Tensor:
            if not self.net.training:
                assert not torch.is_grad_enabled()
                seen.append(x)
            return self.net(x)

    module, choosing = Watched(), ChoosePrototypes(0, again="never")
    shuffled = DataLoader(data(), 20, shuffle=True)
    trainer(1, choosing).fit(module, shuffled)
    assert [len(x) for x in seen] == [20, 20, 20, 20, 10]
    assert torch.cat(seen).equal(data().tensors[0])
    assert choosing.fit is not None and module.head.ready


def test_prototypes_are_of_what_the_transfer_hooks_make() -> None:
    """Many normalize there, on the device."""

    class Scaled(Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[bool, float] = {}

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return 100 * batch[0], batch[1]

        def forward(self, x: Tensor) -> Tensor:
            self.seen[self.net.training] = max(float(x.abs().max()), self.seen.get(True, 0))
            return self.net(x)

    module = Scaled()
    trainer(2, ChoosePrototypes(0.5)).fit(module, DataLoader(data(), 90))
    assert module.seen[False] == module.seen[True] > 100


def test_other_head_network_and_loader() -> None:
    class Other(Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = PrototypeHead(C, DIM)
            del self.head

        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("not the network")

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.classifier(self.net(batch[0]), batch[1])

    module = Other()
    made: list[L.Trainer] = []

    def inputs(of: L.Trainer) -> Any:
        made.append(of)
        return [data().tensors]

    choosing = Recorded(
        0.5, head="classifier", network=lambda pl_module: pl_module.net, loader=inputs
    )
    own = trainer(2, choosing)
    own.fit(module, DataLoader(data(), 20))
    assert made == [own, own]
    assert choosing.times == [(1, 0), (2, 8)]
    with pytest.raises(ValueError, match=r"Other\.head is NoneType"):
        trainer(2, ChoosePrototypes()).fit(Other(), DataLoader(data(), 20))


def test_two_heads_of_a_module(tmp_path: Path) -> None:
    class Two(Module):
        def __init__(self) -> None:
            super().__init__()
            self.other = PrototypeHead(C, DIM, seed=1)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) + self.other(self(batch[0]), batch[1])

    module, first, second = Two(), Recorded(1), Recorded(2, head="other", again="never")
    own = trainer(3, first, second, checkpoints(tmp_path), enable_checkpointing=True)
    own.fit(module, DataLoader(data(), 20, shuffle=True))
    assert (first.times, second.times) == ([(1, 0), (3, 8)], [(2, 0)])
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    chosen = [part.get("chosen_after") for part in state.values()]
    assert [3 in chosen, 2 in chosen] == [True] * 2


def test_bfloat16() -> None:
    module = Module()
    trainer(2, ChoosePrototypes(0.5), precision="bf16-true").fit(
        module, DataLoader(data(), 20, shuffle=True)
    )
    assert next(module.net.parameters()).dtype == torch.bfloat16
    assert module.head.center.dtype == torch.float32
    assert module.head.ready
    mixed = Module()
    trainer(2, ChoosePrototypes(0.5), precision="bf16-mixed").fit(mixed, DataLoader(data(), 20))
    assert mixed.head.ready


class _Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(data())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChoosePrototypes(1.5), r"'after' must be a share .* not 1.5"),
        (lambda: ChoosePrototypes(-1), "not -1"),
        (lambda: ChoosePrototypes(float("nan")), "not nan"),
        (lambda: ChoosePrototypes("0.1"), "'after' must be a share .* not '0.1'"),  # pyright: ignore[reportArgumentType]
        (lambda: ChoosePrototypes(refine=-1), "'refine' must be an integer of at least 0, not -1"),
        (lambda: ChoosePrototypes(again="often"), "one of end, epochs, never, not 'often'"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_wrong_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_objects_where_names_and_functions_belong() -> None:
    net: Any = nn.Linear(2, 2)
    loader: Any = DataLoader(data(), 20)
    for argument, value, message in (
        ("head", net, "'head' must be the name of the LightningModule's attribute .*, not Linear"),
        ("network", net, "'network' must be a function from the LightningModule .*, not Linear"),
        ("loader", loader, "'loader' must be a function from the Trainer .*, not DataLoader"),
    ):
        with pytest.raises(TypeError, match=message):
            ChoosePrototypes(**{argument: value})


def test_trainings_that_cannot_be() -> None:
    plain = DataLoader(data(), 20)
    for module, epochs, choosing, training, message in (
        (Module(), 3, ChoosePrototypes(head="prototypes"), plain, "Module.prototypes is NoneType"),
        (Module(), 3, ChoosePrototypes(head="net"), plain, "Module.net is Sequential"),
        (Module(), -1, ChoosePrototypes(), plain, r"set Trainer\(max_epochs\)"),
        (Module(), 3, ChoosePrototypes(4), plain, "at most the 3 epochs of the Trainer, not 4"),
        (Module(), 3, ChoosePrototypes(2), [plain, plain], "'loader' of ChoosePrototypes must be"),
        (Module(), 3, ChoosePrototypes(2), DataLoader(_Stream(), 20), "map-style data set, but _S"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer(epochs, choosing).fit(module, training)
        assert not getattr(module, "stages", None), "before the first step"


@pytest.mark.parametrize(
    "averaging", [EMAWeightAveraging(decay=0.9), StochasticWeightAveraging(swa_lrs=1e-3)]
)
def test_averages_of_weights_are_refused(averaging: L.Callback) -> None:
    module = Module()
    with pytest.raises(ValueError, match=f"does not go with {type(averaging).__name__}"):
        trainer(3, ChoosePrototypes(1), averaging).fit(module, DataLoader(data(), 20))
    assert not module.stages, "before the first step"


# -------------------------------------------------------------------- checkpoints


class Killed(Exception):
    """What ends a process in the middle."""


class Kill(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            raise Killed


def checkpoints(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, every_n_train_steps=1, save_last=True, save_top_k=0)


def run(
    folder: Path,
    after: float,
    again: Again,
    kill: int | None = None,
    resume: bool = False,
    workers: int = 0,
) -> tuple[Module, Recorded]:
    module, choosing = Module(), Recorded(after, again=again)
    killing = [] if kill is None else [Kill(kill)]
    own = trainer(4, choosing, checkpoints(folder), *killing, enable_checkpointing=True)
    path = str(folder / "last.ckpt") if resume else None
    own.fit(module, loader(module.head, workers), DataLoader(data(), 32), ckpt_path=path)
    return module, choosing


def same(first: Module, second: Module) -> None:
    for (name, ours), theirs in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        if isinstance(ours, Tensor):
            assert ours.equal(theirs), name
    assert first.head.vectors(torch.arange(C)).equal(second.head.vectors(torch.arange(C)))


# An epoch has 6 steps: 90 inputs in batches of 16.
@pytest.mark.parametrize(
    ("after", "again", "kill", "workers"),
    [
        (0.5, "end", 3, 0),  # in the contrastive stage
        (0.5, "end", 12, 0),  # between two epochs, after the choice
        (0.5, "end", 15, 0),  # in the stage with prototypes
        (0.5, "end", 15, 2),
        (0.5, "end", 23, 0),  # before the last choice
        (0, "epochs", 2, 0),  # where the first epoch has had prototypes from its first step
        (0, "epochs", 9, 0),
    ],
)
def test_killed_and_resumed_is_as_never_stopped(
    tmp_path: Path, after: float, again: Again, kill: int, workers: int
) -> None:
    whole, choices = run(tmp_path / "whole", after, again)
    with pytest.raises(Killed):
        run(tmp_path / "parts", after, again, kill, workers=workers)
    state = torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)
    assert state["global_step"] == kill
    resumed, rest = run(tmp_path / "parts", after, again, resume=True, workers=workers)
    same(whole, resumed)
    assert rest.times == [time for time in choices.times if time[0] * 6 > kill]
    assert resumed.stages == whole.stages[kill:]


def test_checkpoint_of_lightning_holds_everything(tmp_path: Path) -> None:
    module, _ = run(tmp_path, 0.5, "end")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert [
        part["chosen_after"] for part in state["callbacks"].values() if "chosen_after" in part
    ] == [4]
    fresh = Module(PrototypeHead(3, DIM))
    fresh.load_state_dict(state["state_dict"])
    same(module, fresh)
    # And what was finished stays as it is.
    again, choosing = run(tmp_path, 0.5, "end", resume=True)
    assert choosing.times == []
    same(module, again)


@pytest.mark.parametrize("again", ["end", "never"])
def test_a_finished_training_that_goes_on_follows_again(tmp_path: Path, again: Again) -> None:
    class Follows(Module):
        def __init__(self) -> None:
            super().__init__()
            self.following: list[bool] = []

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.following.append(self.head.follows)
            return super().training_step(batch, batch_idx)

    for epochs, expected in ((2, [False, True]), (4, [True, True])):
        module, path = Follows(), tmp_path / "last.ckpt"
        saving = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0)
        own = trainer(epochs, ChoosePrototypes(1, again=again), saving, enable_checkpointing=True)
        own.fit(module, DataLoader(data(), 90), ckpt_path=str(path) if path.exists() else None)
        assert module.following == (expected if again == "end" else [False, False])


class Saved(Module):
    """Writes what each process ends with."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self) -> None:
        torch.save(self.state_dict(), self.folder / f"{self.global_rank}.pt")


def _share(rank: int, file: Path, out: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=2
    )
    head = PrototypeHead(C, DIM, seed=rank)
    means = torch.randn(C, DIM, generator=torch.Generator().manual_seed(rank))
    head.choose(means)
    own = head.vectors(torch.arange(C))
    share_prototypes(head, torch.device("cpu"))
    torch.save(
        (own, head.vectors(torch.arange(C)), head.transform(torch.eye(DIM))), out / f"{rank}.pt"
    )
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_that_chose_differently_take_those_of_the_first(tmp_path: Path) -> None:
    spawn(_share, args=(tmp_path / "file", tmp_path), nprocs=2)
    (first, vectors, frame), (second, taken, same_frame) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert not first.equal(second), "else nothing is shown"
    assert vectors.equal(first) and taken.equal(first)
    assert frame.equal(same_frame)


@pytest.mark.slow
def test_two_processes_choose_the_same(tmp_path: Path) -> None:
    module = Saved(tmp_path)
    own = trainer(2, ChoosePrototypes(0.5), strategy="ddp_spawn", devices=2)
    own.fit(module, loader(module.head))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys()
    # Those of batch normalization too, which each process counts by itself: prototypes are chosen
    # by those of the first.
    for name in first:
        if name != "head._extra_state":
            assert first[name].equal(second[name]), name
    codes = [state["head._extra_state"]["classes"]["codes"] for state in (first, second)]
    assert codes[0].equal(codes[1])
