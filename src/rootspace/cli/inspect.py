"""`rootspace inspect`: what may be wrong with labeled images, by a trained run.

  rootspace inspect RUN                                the data that it was trained on, all sets
  rootspace inspect RUN --data ImageFolder --data.root photos --data.image_size 64
  rootspace inspect GALLERY                            the images of a gallery

It names pictures that are there twice, within a set and across sets (leaks); images that are nearer
to another class than to their own, which may be wrong labels; and the hardest of the others, by the
margin between their class and the next one. An input that cannot be read is named on stderr and
left out, and the exit code is 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rootspace._terminal import bar, one_line
from rootspace.data import LabeledDataset, make_data
from rootspace.gallery import Gallery, Identities
from rootspace.gallery.inspection import (
    ALIKE,
    Doubt,
    Inspection,
    Pair,
    Sample,
    doubts,
    inspect,
    look_of_file,
    looks,
)
from rootspace.gallery.lance import unit
from rootspace.gallery.locations import holds_gallery, run_of
from rootspace.run import load
from rootspace.train.evaluation import own_labels

from ._arguments import add_device, cosine
from ._embedding import Unread, image_shape, readable_batches
from ._gallery import add_gallery
from ._output import add_format, answer
from ._parser import Parser
from ._test_sets import data_config, place_of, split_settings

PROG = "rootspace inspect"


def run(arguments: list[str]) -> int:
    own, settings = split_settings(arguments)
    options = _parser().parse_args(own)
    if options.show < 0:
        raise ValueError(f"Argument '--show' must not be negative, not {options.show}.")
    unread = Unread()
    if holds_gallery(options.run):
        if settings:
            raise ValueError(f"Argument '{settings[0]}' is for a run, not for a gallery.")
        samples, pictures, found = _of_gallery(options)
    else:
        samples, pictures, found = _of_data(options, settings, unread)
    with bar("Comparing", len(samples)) as shown:
        result = inspect(samples, pictures, found, least=options.alike, bar=shown)
    _answer(options, samples, result)
    unread.check(len(samples) + unread.number)
    return 0


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__)
    add_gallery(parser)
    parser.add_argument(
        "--alike",
        type=cosine,
        default=ALIKE,
        help=f"correlation from which on pictures count as the same; default {ALIKE}",
    )
    parser.add_argument(
        "--show", type=int, default=20, metavar="N", help="how many of each to print; default 20"
    )
    add_device(parser)
    add_format(parser)
    return parser


def _of_gallery(options: argparse.Namespace) -> tuple[list[Sample], np.ndarray, list[Doubt]]:
    trained = load(run_of(options.run), options.device)
    samples, pictures, parts = list[Sample](), list[np.ndarray](), list[np.ndarray]()
    with Gallery.open(options.run, trained) as gallery:
        identities = Identities(gallery)
        with bar("Reading", len(gallery)) as shown:
            for items, z in gallery.scan():
                parts.append(z)
                files = gallery.thumbnails([item.id for item in items])
                for item in items:
                    named = item.path or f"item {item.id}"
                    samples.append(Sample(named, "gallery", item.label, item.id))
                    file = files.get(item.id)
                    blank = np.zeros(256, np.float32)
                    pictures.append(blank if file is None else look_of_file(file))
                shown.advance(len(items))
        own = identities.find([sample.label for sample in samples])
        z = np.concatenate(parts) if parts else np.empty((0, gallery.store.pin.dim), np.float32)
        names = identities.names()
        found = doubts(z, own, identities.nearest, identities.cosines, names)
    return samples, np.array(pictures, np.float32).reshape(-1, 256), found


class InspectedSet(NamedTuple):
    """Images that are compared.

    Attributes:
        name: of the set.
        images: whose labels are numbers of `class_names`.
        class_names: of the set.
        own: `[len(class_names)]` the run's labels of these, -1 for a class that it does not have.
    """

    name: str
    images: LabeledDataset
    class_names: list[str]
    own: Tensor


def _of_data(
    options: argparse.Namespace, settings: list[str], unread: Unread
) -> tuple[list[Sample], np.ndarray, list[Doubt]]:
    trained = load(options.run, options.device)
    image_shape(trained)
    data = make_data(data_config(trained, settings, f"{PROG} RUN"))
    data.setup()
    number = own_labels(trained.model, data)
    known: dict[str, LabeledDataset] = {"train": data.train_dataset}
    for name, images in data.test_datasets.items():
        # Some data are tested on what they are trained on.
        if images is not data.train_dataset:
            known[name if name != "train" else "test train"] = images
    classes = [str(name) for name in data.class_names]
    sets = [InspectedSet(name, images, classes, number) for name, images in known.items()]
    for name, unseen in data.retrieval_sets.items():
        others = [str(other) for other in unseen.class_names]
        none = torch.full((len(others),), -1)  # their classes are not the run's
        sets.append(InspectedSet(name, unseen.queries, others, none))
        if unseen.gallery is not None:
            sets.append(InspectedSet(f"{name} gallery", unseen.gallery, others, none))
    samples, pictures = list[Sample](), list[np.ndarray]()
    parts, own = list[np.ndarray](), list[np.ndarray]()
    for one in sets:
        batches = readable_batches(one.images, data.loader, f"Reading {one.name}", unread)
        for x, labels, rows in batches:
            pictures.append(looks(x))
            parts.append(unit(trained.embed_batch(x).cpu().numpy()))
            own.append(one.own[labels].numpy())
            for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
                place = place_of(one.images, row) or f"{one.name}/{row}"
                samples.append(Sample(place, one.name, one.class_names[label]))
    if not samples:
        unread.check(unread.number)
    z = np.concatenate(parts)

    def nearest(z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        # By the classes as they were trained, retired ones too: these are their data.
        k = min(k, trained.model.head.num_classes)
        with torch.no_grad():
            parts = [
                trained.model.head.search(part, k)
                for part in torch.from_numpy(z).to(trained.device).split(1024)
            ]
        label = torch.cat([part.label for part in parts]).cpu().numpy()
        cosine = torch.cat([part.cosine for part in parts]).float().cpu().numpy()
        short = ((0, 0), (0, 2 - k))
        return np.pad(label, short, constant_values=-1), np.pad(cosine, short, constant_values=-1)

    def cosines(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        vectors = trained.model.head.vectors(torch.from_numpy(labels)).detach().float()
        return (z * vectors.cpu().numpy()).sum(axis=-1)

    found = doubts(z, np.concatenate(own), nearest, cosines, trained.names)
    return samples, np.concatenate(pictures), found


def _answer(options: argparse.Namespace, samples: Sequence[Sample], found: Inspection) -> None:
    def named(number: int) -> str:
        sample = samples[number]
        return one_line(f"{sample.name} ({sample.label})" if sample.label else sample.name)

    def pair(one: Pair) -> str:
        return f"{one.correlation:.3f}  {named(one.first)} = {named(one.second)}"

    def doubt(one: Doubt) -> str:
        cosines = f"own {one.cosine:.3f}, {one_line(one.other)} {one.other_cosine:.3f}"
        return f"{one.margin:+.3f}  {named(one.sample)}: {cosines}"

    show = options.show
    sets = len({sample.set for sample in samples})
    lines = [f"{len(samples):,} images{f' in {sets} sets' if sets > 1 else ''}"]
    lines += _part("the same picture in two sets", [pair(p) for p in found.leaks], show)
    lines += _part("the same picture twice in a set", [pair(p) for p in found.duplicates], show)
    lines += _part("nearer to another class", [doubt(d) for d in found.mistakes], show)
    lines += _part("hardest of the others", [doubt(d) for d in found.hardest[:show]], show)

    def content(one: Pair | Doubt) -> dict[str, object]:
        if isinstance(one, Pair):
            ends = {"first": asdict(samples[one.first]), "second": asdict(samples[one.second])}
            return {**ends, "correlation": one.correlation}
        return {**asdict(one), "sample": asdict(samples[one.sample]), "margin": one.margin}

    def contents(some: Iterable[Pair | Doubt]) -> list[dict[str, object]]:
        return [content(one) for one in some]

    answer(
        options,
        "\n".join(lines),
        {
            "images": len(samples),
            "leaks": contents(found.leaks),
            "duplicates": contents(found.duplicates),
            "mistakes": contents(found.mistakes),
            "hardest": contents(found.hardest[:show]),
        },
    )


def _part(title: str, lines: list[str], most: int) -> list[str]:
    if not lines:
        return []
    rest = len(lines) - most
    more = [f"  ... and {rest:,} more: --show {len(lines)}, or --format json"] if rest > 0 else []
    return ["", f"{title}: {len(lines):,}", *(f"  {line}" for line in lines[:most]), *more]
