"""Weights of timm models: from files, into frozen layers, and the images they were trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rootspace.models import Embedder, ExpectedImages, TimmBackbone, expected_images

timm = pytest.importorskip("timm")

NAME = "resnet10t"
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def model_of(name: str, **arguments: Any) -> Any:
    """A timm model without what is zero or one in a new one, which would hide mistakes."""
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=7, **arguments)
    for module in model.modules():
        if isinstance(module, BATCH_NORM):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return model.eval()


def saved(state: dict[str, Tensor], path: Path) -> str:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def model() -> Any:
    return model_of(NAME)


@pytest.fixture(scope="module")
def weights(model: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(model.state_dict(), tmp_path_factory.mktemp("weights") / "model.safetensors")


def features_of(model: Any, images: Tensor) -> Tensor:
    """What timm's model makes of images before its classifier."""
    return model.forward_head(model.forward_features(images), pre_logits=True)


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        NAME,
        "vit_tiny_patch16_224",
        "convnext_atto",
        "mobilenetv3_small_050",
        "efficientvit_b0",
    ],
)
def test_a_file_gives_the_features_of_its_model(name: str, tmp_path: Path) -> None:
    """With its classifier, whatever the family calls that."""
    size = 224 if name.startswith("vit") else 64
    model, images = model_of(name), torch.randn(2, 3, size, size)
    path = saved(model.state_dict(), tmp_path / "w.safetensors")
    found = TimmBackbone(name, None, image_size=size, checkpoint_path=path).eval()
    torch.testing.assert_close(found(images), features_of(model, images))
    assert "state_dict" not in found.backbone.pretrained_cfg


@torch.no_grad()
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict_by_torch_save(wrapped: bool, model: Any, tmp_path: Path) -> None:
    state, images = model.state_dict(), torch.randn(2, 3, 32, 32)
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, tmp_path / "w.pth")
    found = TimmBackbone(NAME, None, checkpoint_path=str(tmp_path / "w.pth")).eval()
    torch.testing.assert_close(found(images), features_of(model, images))


@torch.no_grad()
def test_timm_loads_the_same_by_its_own_way(weights: str) -> None:
    """`pretrained` is timm's, which an overlay of its own turns to a file."""
    overlay = {"pretrained_cfg_overlay": {"file": weights, "mean": (0.1, 0.2, 0.3)}}
    images = torch.randn(2, 3, 32, 32)
    found = TimmBackbone(NAME, None, pretrained=True, model_kwargs=overlay).eval()
    expected = TimmBackbone(NAME, None, checkpoint_path=weights).eval()
    assert torch.equal(found(images), expected(images))
    seen = expected_images(NAME, True, model_kwargs=overlay)
    assert seen is not None and seen.mean == (0.1, 0.2, 0.3)


@torch.no_grad()
def test_gray_images_take_the_sum_of_the_filters(model: Any, weights: str) -> None:
    gray = torch.randn(2, 1, 32, 32)
    found = TimmBackbone(NAME, None, in_channels=1, checkpoint_path=weights).eval()
    expected = features_of(model, gray.expand(-1, 3, -1, -1))
    torch.testing.assert_close(found(gray), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_weights_for_gray_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, gray = model_of(NAME, in_chans=1), torch.randn(2, 1, 32, 32)
    path = saved(model.state_dict(), tmp_path / "w.safetensors")
    found = TimmBackbone(NAME, None, in_channels=1, checkpoint_path=path).eval()
    torch.testing.assert_close(found(gray), features_of(model, gray))
    assert not caplog.records
    with pytest.raises(ValueError, match=r"1 have another shape, the first is 'conv1.0.weight'"):
        TimmBackbone(NAME, None, in_channels=3, checkpoint_path=path)


def test_position_embeddings_fit_other_sizes(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    path = saved(model_of(name).state_dict(), tmp_path / "w.safetensors")
    found = TimmBackbone(name, None, image_size=64, checkpoint_path=path)
    assert found(torch.randn(1, 3, 64, 64)).shape == (1, 192)


def test_a_folder_says_what_images_it_is_for(model: Any, tmp_path: Path) -> None:
    """As timm and the hub write it."""
    cfg = {
        **{"input_size": [3, 48, 48], "mean": [0.5] * 3, "std": [0.25] * 3},
        **{"interpolation": "bilinear", "classifier": "fc", "first_conv": "conv1.0"},
    }
    about = {"architecture": NAME, "pretrained_cfg": cfg}
    (tmp_path / "config.json").write_text(json.dumps(about))
    saved(model.state_dict(), tmp_path / "model.safetensors")
    assert expected_images(NAME, checkpoint_path=str(tmp_path)) == ExpectedImages(
        48, (0.5,) * 3, (0.25,) * 3, "bilinear"
    )
    found = TimmBackbone(NAME, None, checkpoint_path=str(tmp_path)).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(found(images), features_of(model, images))
    with pytest.raises(ValueError, match=r"holds weights of 'resnet10t', not of 'resnet18'"):
        expected_images("resnet18", checkpoint_path=str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"must hold model.safetensors or pytorch_model.bin"):
        TimmBackbone(NAME, None, checkpoint_path=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config.json must hold 'architecture'"):
        TimmBackbone(NAME, None, checkpoint_path=str(tmp_path))


def test_expected_images() -> None:
    assert expected_images(NAME) is None
    known = timm.get_pretrained_cfg(f"{NAME}.c3_in1k")
    found = expected_images(f"{NAME}.c3_in1k", pretrained=True)
    assert found == ExpectedImages(known.input_size[1], known.mean, known.std, known.interpolation)
    assert found is not None
    assert found.statistics(3) == (known.mean, known.std)
    gray = found.statistics(1)
    assert gray == ((pytest.approx(0.449),), (pytest.approx(0.226),))


WRONG = "does not hold the weights of resnet10t for these images: "


def test_files_that_hold_something_else(model: Any, weights: str, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    without = {k: v for k, v in state.items() if not k.startswith("layer1")}
    shaped = {**state, "layer1.0.conv1.weight": torch.zeros(2, 2)}
    gone = len(state) - len(without)
    for content, message in (
        (without, f"{WRONG}{gone} of {len(state) - 2} are missing, the first is 'layer1.0"),
        (shaped, f"{WRONG}1 have another shape, the first is 'layer1.0.conv1.weight' with"),
        ({**state, "more": torch.zeros(1)}, f"{WRONG}1 are none of the model's, .* 'more'"),
    ):
        path = saved(content, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=f"'checkpoint_path': .*{message}"):
            TimmBackbone(NAME, 8, checkpoint_path=path)
    with pytest.raises(ValueError, match=r"weights of resnet18 .* are missing.* another shape"):
        TimmBackbone("resnet18", 8, checkpoint_path=weights)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(ValueError, match=r"must be a file of weights, .* does not exist"):
        TimmBackbone(NAME, 8, checkpoint_path=str(path))
    with pytest.raises(ValueError, match=r"or a folder with config.json: .* has none"):
        TimmBackbone(NAME, 8, checkpoint_path=str(tmp_path))
    for content in (Path("code"), [1, 2]):
        torch.save({"state_dict": content}, path)
        with pytest.raises(ValueError, match=r"cannot be read as weights \("):
            TimmBackbone(NAME, 8, checkpoint_path=str(path))
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match=r"must hold a state_dict"):
        TimmBackbone(NAME, 8, checkpoint_path=str(path))
    path.write_text("no")
    with pytest.raises(ValueError, match=r"cannot be read as weights \("):
        TimmBackbone(NAME, 8, checkpoint_path=str(path))


def test_arguments_that_cannot_be() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"pretrained": True, "checkpoint_path": "x"}, "'checkpoint_path' must be left out"),
        ({"lr_factor": 0.0}, "'lr_factor' must be positive, not 0.0"),
        ({"freeze": 6}, "'freeze' must be 'all' or a number of .* from 1 to 5, not 6"),
        ({"freeze": 0}, "'freeze' must be 'all' .* not 0"),
        ({"model_kwargs": {"in_chans": 3}}, "'model_kwargs' must not hold 'in_chans'"),
        ({"model_kwargs": {"width": 3}}, "'model_kwargs': resnet10t: .*'width'"),
        ({"model_kwargs": {"width": 3}, "image_size": 32}, "resnet10t: .*'width'"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            TimmBackbone(NAME, 8, **arguments)
    with pytest.raises(ValueError, match=r"'pretrained': the weights of seresnet34 cannot be had"):
        TimmBackbone("seresnet34", 8, pretrained=True)  # timm has none


def test_further_arguments_of_timm() -> None:
    arguments = {"patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}
    found = TimmBackbone("vit_tiny_patch16_224", 8, image_size=32, model_kwargs=arguments)
    assert len(found.backbone.blocks) == 2
    assert found(torch.randn(2, 3, 32, 32)).shape == (2, 8)


def test_weights_are_left_out_where_a_run_has_its_own() -> None:
    found = TimmBackbone(NAME, 8, checkpoint_path="nowhere", load_weights=False)
    assert found.lr_factor == TimmBackbone(NAME, 8, lr_factor=0.1).lr_factor


# ------------------------------------------------------------------------- freezing


def trained(network: TimmBackbone) -> dict[str, Tensor]:
    """What a step of training in two passes leaves of the weights and the running statistics."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    network.eval().train()
    for _ in range(2):
        network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        (1, ("backbone.conv1.", "backbone.bn1.")),
        (3, tuple(f"backbone.{name}." for name in ("conv1", "bn1", "layer1", "layer2"))),
        (5, ("backbone.",)),
        ("all", ("backbone.",)),
    ],
)
def test_frozen_layers_keep_weights_and_statistics(
    freeze: Any, kept: tuple[str, ...], weights: str
) -> None:
    network = TimmBackbone(NAME, 8, checkpoint_path=weights, freeze=freeze)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    same = {k for k, v in trained(network).items() if torch.equal(v, before[k])}
    assert same == {name for name in before if name.startswith(kept)}


def test_a_frozen_transformer_drops_nothing() -> None:
    arguments = {
        "patch_size": 8,
        "embed_dim": 64,
        "depth": 3,
        "num_heads": 2,
        "drop_path_rate": 0.9,
    }
    name, images = "vit_tiny_patch16_224", torch.randn(4, 3, 32, 32)
    frozen = TimmBackbone(name, 8, 3, 32, freeze="all", model_kwargs=arguments).train()
    assert torch.equal(frozen(images), frozen(images))
    free = TimmBackbone(name, 8, 3, 32, freeze=2, model_kwargs=arguments).train()
    assert not torch.equal(free(images), free(images))
    assert [any(p.requires_grad for p in b.parameters()) for b in free.backbone.blocks] == [
        False,
        True,
        True,
    ]


# ------------------------------------------------------------------------- rates


def test_rates(weights: str) -> None:
    conv, pretrained = TimmBackbone(NAME, 8), TimmBackbone(NAME, 8, checkpoint_path=weights)
    small = {"patch_size": 8, "embed_dim": 64, "depth": 1, "num_heads": 2}
    vit = TimmBackbone("vit_tiny_patch16_224", 8, image_size=32, model_kwargs=small)
    assert conv.default_lr == pretrained.default_lr > vit.default_lr
    assert [n.lr_factor for n in (conv, pretrained, vit)] == [1.0, 0.1, 1.0]


def test_groups_of_parameters(weights: str) -> None:
    network = TimmBackbone(NAME, 8, checkpoint_path=weights, lr_factor=0.3)
    (backbone, low), (projection, one) = Embedder(network).parameter_groups()
    assert (low, one) == (0.3, 1.0)
    assert {*map(id, projection)} == {*map(id, network.projection.parameters())}
    assert {*map(id, backbone)} == {*map(id, network.backbone.parameters())}
    frozen = Embedder(TimmBackbone(NAME, 8, freeze="all")).parameter_groups()
    assert [len(group) for group, _ in frozen] == [2]
    assert Embedder(TimmBackbone(NAME, None, freeze="all")).parameter_groups() == []
    ((parameters, factor),) = Embedder(nn.Linear(2, 3)).parameter_groups()
    assert len(parameters) == 2 and factor == 1.0
