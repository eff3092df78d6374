"""The pieces of training: objectives, schedule, systems for a config, statistics."""

from __future__ import annotations

import math

import pytest
import torch

from rootspace import ClassMap
from rootspace.data import Characters
from rootspace.data._sampler import EpochSampler
from rootspace.losses import CosineLoss
from rootspace.models import Encoder
from rootspace.systems import Circle, PermutationCode, RootA
from rootspace.train import (
    ClassesConfig,
    Embedder,
    LinearCE,
    NormalizedSoftmax,
    TrainConfig,
    VectorObjective,
    WarmupConfig,
)
from rootspace.train.assignment import embed_means
from rootspace.train.build import build_system
from rootspace.train.module import LSCModule, Tally, learning_rate_factor
from rootspace.train.objectives import LEARNED_LOSSES, Objective


@pytest.mark.parametrize(
    ("config", "num_classes", "dim", "expected"),
    [
        (ClassesConfig(assignment="random"), 10, None, RootA(3)),
        (ClassesConfig(assignment="random"), 1281, None, RootA(36)),
        (ClassesConfig(assignment="random"), 1281, 64, RootA(64)),
        (ClassesConfig(assignment="random"), 200, 10, RootA(10, interpolations=1)),
        (ClassesConfig(), 10, None, PermutationCode(256)),
        (ClassesConfig(), 10**8, 64, PermutationCode(64)),
        (ClassesConfig(system="Circle(3)"), 10, None, Circle(3)),
        (ClassesConfig(system="Circle(3)"), 10, 2, Circle(3)),
    ],
)
def test_system_of_a_config(config, num_classes, dim, expected):
    assert build_system(config, num_classes, dim) == expected


def test_cosine_schedule():
    config = TrainConfig(schedule="cosine", warmup_steps=10)
    factors = [learning_rate_factor(step, 110, config) for step in range(110)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert factors[10] == 1 and factors[60] == pytest.approx(0.5)
    assert factors[10:] == sorted(factors[10:], reverse=True) and factors[-1] < 1e-3
    constant = TrainConfig(schedule="constant", warmup_steps=0)
    assert learning_rate_factor(0, 110, constant) == learning_rate_factor(50, 110, constant) == 1


def test_epochs_of_the_warm_up():
    assert [WarmupConfig().epochs_of(total) for total in (1, 2, 5, 7, 10)] == [1, 1, 2, 3, 4]
    assert WarmupConfig(epochs=3).epochs_of(3) == 3
    with pytest.raises(ValueError, match=r"'warmup.epochs' must be at most"):
        WarmupConfig(epochs=3).epochs_of(2)


def test_learned_heads_predict_their_logits():
    torch.manual_seed(0)
    z = torch.randn(40, 8)
    for head in (LinearCE(8, 12), NormalizedSoftmax(8, 12)):
        prediction = head.predict(z, 3)
        assert torch.equal(prediction.label, head.logits(z).topk(3).indices)
        vectors = head.class_vectors(prediction.label[:, 0])
        cosine = torch.nn.functional.cosine_similarity(z, vectors)
        torch.testing.assert_close(prediction.cosine[:, 0], cosine)


@pytest.mark.parametrize("name", LEARNED_LOSSES)
def test_learned_heads_leave_autocast(name: str):
    """As LSC's losses do: else half precision would round the logits of the baselines alone."""
    torch.manual_seed(0)
    head, z, labels = LEARNED_LOSSES[name](16, 50), torch.randn(8, 16), torch.arange(8)
    expected, loss = head.logits(z), head(z, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head.logits(z), expected)
        assert torch.equal(head(z, labels), loss)
        assert head.predict(z).cosine.dtype == torch.float32


def test_normalized_softmax_is_a_softmax_over_scaled_cosines():
    torch.manual_seed(0)
    head, z, labels = NormalizedSoftmax(8, 12, scale=7.0), torch.randn(20, 8), torch.arange(20) % 12
    expected = torch.nn.functional.cross_entropy(7.0 * head.cosines(z), labels)
    torch.testing.assert_close(head(z, labels), expected)


def test_vector_objective_has_no_parameters():
    objective = VectorObjective(CosineLoss(ClassMap(RootA(100), 10_000)))
    assert not list(objective.parameters()) and not objective.state_dict()
    labels = torch.tensor([0, 9_999])
    vectors = objective.class_vectors(labels)
    assert torch.equal(objective.predict(vectors).label[:, 0], labels)


def test_embedder_normalises_bytes():
    seen = []

    class Probe(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)

    embedder = Embedder(Probe(), mean=(0.5, 0.25), std=(0.5, 0.5))
    embedder(torch.full((1, 2, 3, 3), 255, dtype=torch.uint8))
    assert seen[0][0, 0].unique().item() == 1.0 and seen[0][0, 1].unique().item() == 1.5


def test_tally_weighs_batches_by_their_size():
    tally = Tally()
    tally.add(torch.tensor(1.0), 4, torch.tensor([True, True, False, True]))
    tally.add(torch.tensor(4.0), 2, torch.tensor([False]))  # one of two judged
    tally.add(torch.tensor(2.0), 6)  # not judged
    assert tally.means() == pytest.approx((2.0, 0.6))
    assert all(math.isnan(value) for value in Tally().means())


@pytest.mark.parametrize(("num_classes", "world"), [(3, 2), (3, 4), (2, 8)])
def test_class_means_of_several_processes(
    num_classes: int, world: int, monkeypatch: pytest.MonkeyPatch
):
    """Each image counts once, although all processes see equally many."""
    data = Characters(num_classes=num_classes, image_size=8, batch_size=4)  # ten images of each
    data.setup()
    embedder = Embedder(Encoder(6, 1, width=2), data.mean, data.std)
    whole = embed_means(embedder, data)
    sums, counts = torch.zeros_like(whole._sums), torch.zeros_like(whole._counts)
    for rank in range(world):
        monkeypatch.setattr(EpochSampler, "_rank_and_world", lambda self, rank=rank: (rank, world))
        part = embed_means(embedder, data)
        sums, counts = sums + part._sums, counts + part._counts
    assert torch.equal(counts, whole._counts)
    torch.testing.assert_close(sums, whole._sums)


def test_large_half_precision_embeddings_are_finite():
    """Their sum in float16 is not."""

    class Wide(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((len(images), 2048), 0.5, dtype=torch.float16, requires_grad=True)

    class Nothing(Objective):
        def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return embeddings.float().mean()

        def predict(self, embeddings: torch.Tensor, k: int = 1): ...

        def class_vectors(self, labels: torch.Tensor): ...

        ready = False

    data = Characters(num_classes=2, image_size=8)
    data.setup()
    module = LSCModule(Embedder(Wide(), data.mean, data.std), Nothing(), TrainConfig(), data)
    images = torch.zeros(256, 1, 8, 8, dtype=torch.uint8)
    loss = module.training_step((images, torch.zeros(256).long()), 0)
    assert float(loss.detach()) == 0.5
