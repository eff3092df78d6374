"""What `rootspace evaluate` measures beside accuracy: retrieval, verification, unknowns."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rootspace._terminal import table
from rootspace.config import Config, LoaderConfig
from rootspace.data import DataModule, FileImages, LabeledDataset, RetrievalSet, View, make_data
from rootspace.data.folders import class_folders, list_images
from rootspace.metrics import (
    LabeledEmbeddings,
    MatchRanks,
    OpenSetMetrics,
    RetrievalMetrics,
    VerificationMetrics,
    match_ranks,
    open_set_metrics,
    verify_all,
    verify_pairs,
)
from rootspace.run import Run
from rootspace.train.evaluation import check_shape

from ._arguments import image_files
from ._embedding import Unread, embed_files, image_shape
from ._output import FORMATS, WriteRow, answer, csv_text, new_csv, print_csv
from ._parser import path
from ._test_sets import TestSet, look_at

TRAIN = "train"
"""As --gallery: the training inputs."""

PER_QUERY = ("set", "path", "class", "matches", "rank", "average_precision")
PAIRS = ("left", "right", "same")
SAME = {"1": True, "true": True, "0": False, "false": False}


class Figure(NamedTuple):
    """What is measured of a set: the name for programs, that for readers, and the value.

    Shares are floats and shown as percentages, unless the figure is `plain`.
    """

    key: str
    title: str
    value: float
    plain: bool = False

    def __str__(self) -> str:
        if isinstance(self.value, int):
            return f"{self.value:,}"
        return f"{self.value:.4f}" if self.plain else f"{self.value:.2%}"


def print_figures(
    options: argparse.Namespace, found: Mapping[str, Sequence[Figure]], *, kind: str = "set"
) -> None:
    """A row a set, as --format asks for; sets may have different figures.

    Args:
        options: of the command line.
        found: name of a set -> its figures.
        kind: of set, for readers.
    """
    figures = {name: {figure.key: figure for figure in some} for name, some in found.items()}
    titles = {figure.key: figure.title for some in found.values() for figure in some}
    content = {name: {k: f.value for k, f in some.items()} for name, some in figures.items()}
    if options.format not in FORMATS:
        rows = [
            [csv_text(name), *(some.get(k, "") for k in titles)] for name, some in content.items()
        ]
        print_csv(["set", *titles], rows)
        return
    rows = [[name, *(str(some.get(k, "-")) for k in titles)] for name, some in figures.items()]
    answer(options, table([kind, *titles.values()], rows), content)


# ------------------------------------------------------------------------------- retrieval


def retrieval(trained: Run, options: argparse.Namespace, config: Config) -> None:
    """Recall@k, R-precision, MAP@R, mAP and mINP of each set."""
    for k in options.top or ():
        if k < 1:
            raise ValueError(f"Argument '--top' must be at least 1, not {k}.")
    unread, found, number = Unread(), {}, 0
    with new_csv(options.per_query, PER_QUERY) as write:
        for name, some in _sets(trained, options, config).items():
            queries, gallery, rows = _embedded(trained, name, some, config, unread)
            number += _size(some)
            ranks = match_ranks(queries, gallery)
            top = some.top if options.top is None else tuple(sorted({*options.top}))
            if not bool(ranks.matches.any()):
                raise ValueError(
                    f"No query of the set '{name}' has a match in what is searched: name another "
                    "set of the same classes with '--gallery'."
                )
            found[name] = _retrieval_figures(ranks.metrics(top), top)
            if write is not None:
                _write_queries(write, name, some, rows, ranks)
    print_figures(options, found)
    unread.check(number)


def _retrieval_figures(found: RetrievalMetrics, top: Sequence[int]) -> list[Figure]:
    return [
        *(Figure(f"recall@{k}", f"R@{k}", found.recall[k]) for k in top),
        Figure("r_precision", "R-precision", found.r_precision),
        Figure("map_at_r", "MAP@R", found.map_at_r),
        Figure("mean_average_precision", "mAP", found.mean_average_precision),
        Figure("mean_inverse_negative_penalty", "mINP", found.mean_inverse_negative_penalty),
        Figure("queries", "queries", found.queries),
        Figure("without_match", "without match", found.without_match),
        Figure("gallery", "gallery", found.gallery),
    ]


def _write_queries(
    write: WriteRow, name: str, some: RetrievalSet, rows: Tensor, ranks: MatchRanks
) -> None:
    queries = TestSet(name, some.queries, _same(some), LoaderConfig())
    for i, row in enumerate(rows.tolist()):
        matches = int(ranks.matches[i])
        shown = [name, queries.path(row), some.class_names[int(some.queries.labels[row])]]
        figures = [int(ranks.first[i]), f"{float(ranks.average_precision[i]):.4f}"]
        write([*map(csv_text, shown), matches, *(figures if matches else ["", ""])])


# ---------------------------------------------------------------------------- verification


def verification(trained: Run, options: argparse.Namespace, config: Config) -> None:
    """TAR at FAR, EER and AUROC of a list of pairs, or of all pairs of each set."""
    unread = Unread()
    if options.pairs is not None:
        if options.folders or options.gallery is not None:
            raise ValueError("Argument '--pairs' names all images: leave out FOLDER and --gallery.")
        genuine, impostor, number = _scores_of_pairs(trained, options.pairs, config.loader, unread)
        found = {options.pairs.name: verify_pairs(genuine, impostor, options.far)}
    else:
        found, number = {}, 0
        for name, some in _sets(trained, options, config).items():
            queries, gallery, _ = _embedded(trained, name, some, config, unread)
            number += _size(some)
            try:
                found[name] = verify_all(queries, gallery, options.far)
            except ValueError as error:
                raise ValueError(f"Set '{name}': {error}") from error
    print_figures(options, {name: _verification_figures(each) for name, each in found.items()})
    unread.check(number)


def _verification_figures(found: VerificationMetrics) -> list[Figure]:
    figures = []
    for far, tar in found.tar.items():
        figures.append(Figure(f"tar@{far:g}", f"TAR@{far:g}", tar))
        figures.append(Figure(f"threshold@{far:g}", "from cosine", found.threshold[far], True))
    return [
        *figures,
        Figure("eer", "EER", found.eer),
        Figure("auroc", "AUROC", found.auroc, True),
        Figure("genuine", "genuine", found.genuine),
        Figure("impostor", "impostor", found.impostor),
    ]


def _scores_of_pairs(
    trained: Run, source: Path, loader: LoaderConfig, unread: Unread
) -> tuple[Tensor, Tensor, int]:
    """Cosines of the genuine and the impostor pairs whose images can be read, and all images."""
    image_shape(trained)
    pairs = _read_pairs(source)
    files = list(dict.fromkeys(file for left, right, _ in pairs for file in (left, right)))
    read, z = embed_files(trained, files, loader, "Pairs", unread)
    place = {file: i for i, file in enumerate(read)}
    kept = [(place[a], place[b], same) for a, b, same in pairs if a in place and b in place]
    if not kept:
        raise ValueError(f"{source} must hold pairs of which both images can be read; none can.")
    unit = torch.nn.functional.normalize(z, dim=-1)
    left, right, same = (torch.tensor(column) for column in zip(*kept, strict=True))
    cosines = (unit[left] * unit[right]).sum(-1).cpu()
    for what, some in (("same", same), ("different", ~same)):
        if not bool(some.any()):
            raise ValueError(f"{source} must hold pairs of {what} classes that can be read.")
    return cosines[same], cosines[~same], len(files)


def _read_pairs(source: Path) -> list[tuple[Path, Path, bool]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.DictReader(file, strict=True)
            if not {*PAIRS} <= {*(lines.fieldnames or ())}:
                raise ValueError(f"{source} must have the columns {', '.join(PAIRS)}.")
            found = []
            for row in lines:
                left, right, same = (row[name] or "" for name in PAIRS)
                if same.lower() not in SAME or not left or not right:
                    raise ValueError(
                        f"{source}, line {lines.line_num}: two images and 1 or 0 expected, not "
                        f"{left!r}, {right!r}, {same!r}."
                    )
                # As given where the path is absolute.
                found.append((source.parent / left, source.parent / right, SAME[same.lower()]))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{source} is not CSV in UTF-8: {error}.") from error
    if not found:
        raise ValueError(f"{source} holds no pairs.")
    return found


# -------------------------------------------------------------------------------- open set


def open_set(
    trained: Run, options: argparse.Namespace, known: Sequence[TestSet], config: Config
) -> None:
    """AUROC, FPR95, OSCR and DIR at FAR of each test set against unknown inputs, by cosine."""
    unread = Unread()
    number = sum(len(test.data) for test in known)
    if options.unknown is not None:
        image_shape(trained)
        files = image_files(options.unknown)
        number += len(files)
        z = embed_files(trained, files, config.loader, "Unknown inputs", unread)[1]
        unknown = _nearest(trained, z)[1]
    else:
        data = _data(trained, config, tests_only=True)
        parts = []
        for name, some in data.retrieval_sets.items():
            queries, gallery, _ = _embedded(trained, name, some, config, unread)
            number += _size(some)
            parts += [queries] if gallery is None else [queries, gallery]
        if not parts:
            raise ValueError(
                "Argument '--unknown' must name images of unknown classes: the data have no "
                "retrieval set that could stand for them."
            )
        unknown = torch.cat([_nearest(trained, part.embeddings)[1] for part in parts])
    found: dict[str, OpenSetMetrics] = {}
    for test in known:
        scores, correct = [], []
        for _, labels, z in look_at(trained, test, f"Known inputs of {test.name}", unread):
            label, cosine = _nearest(trained, z)
            scores.append(cosine)
            correct.append(label == labels.to(label.device))
        if scores:
            known_scores, right = torch.cat(scores), torch.cat(correct)
            found[test.name] = open_set_metrics(known_scores, right, unknown, options.far)
    figures = {name: _open_set_figures(each) for name, each in found.items()}
    print_figures(options, figures, kind="test set")
    unread.check(number)


def _nearest(trained: Run, z: Tensor) -> tuple[Tensor, Tensor]:
    """`[N]` labels and cosines of the nearest classes, as they were trained."""
    prediction = trained.model.head.search(z)
    return prediction.label[:, 0], prediction.cosine[:, 0]


def _open_set_figures(found: OpenSetMetrics) -> list[Figure]:
    return [
        Figure("accuracy", "accuracy", found.accuracy),
        Figure("auroc", "AUROC", found.auroc, True),
        Figure("fpr95", "FPR95", found.fpr95),
        Figure("oscr", "OSCR", found.oscr, True),
        *(Figure(f"dir@{far:g}", f"DIR@{far:g}", share) for far, share in found.dir.items()),
        Figure("known", "known", found.known),
        Figure("unknown", "unknown", found.unknown),
    ]


# ------------------------------------------------------------------------ sets of any data


def _sets(trained: Run, options: argparse.Namespace, config: Config) -> dict[str, RetrievalSet]:
    """What is searched in what: folders, retrieval sets of the data, or else its test sets."""
    gallery: RetrievalSet | None = None
    wanted = options.gallery
    if wanted is not None and path(wanted).is_dir():
        if path(wanted).resolve() in [folder.resolve() for folder in options.folders]:
            raise ValueError(
                f"Argument '--gallery' must not be what is searched with, {wanted}: each image "
                "would find itself. Leave it out to search a set without the query."
            )
        gallery = _folder(trained, path(wanted))
    if options.folders:
        if wanted is not None and gallery is None:
            raise ValueError(f"Argument '--gallery' must be a folder of class folders: {wanted!r}.")
        last = [folder.resolve().name for folder in options.folders]
        shown = [
            name if last.count(name) == 1 else str(folder)
            for folder, name in zip(options.folders, last, strict=True)
        ]
        found = {
            name: _folder(trained, folder)
            for name, folder in zip(shown, options.folders, strict=True)
        }
    else:
        data = _data(trained, config, tests_only=wanted != TRAIN)
        if data.retrieval_sets and wanted is None:
            return data.retrieval_sets
        own = {
            name: RetrievalSet(data.class_names, test) for name, test in data.test_datasets.items()
        }
        if wanted is not None and gallery is None:
            sets = {TRAIN: RetrievalSet(data.class_names, data.train_dataset), **own}
            if wanted not in sets:
                raise ValueError(
                    f"Argument '--gallery' must be a folder of class folders or one of "
                    f"{', '.join(sets)}, not {wanted!r}."
                )
            gallery = sets[wanted]
        found = {name: some for name, some in own.items() if name != wanted}
        if not found:
            raise ValueError(f"The data have no set to search with: {data.describe()}.")
    if gallery is None:
        return found
    return {name: _in_gallery(some, gallery) for name, some in found.items()}


def _data(trained: Run, config: Config, *, tests_only: bool) -> DataModule:
    """The data of some settings, of images as the run takes them."""
    data = make_data(config)
    data.setup(tests_only=tests_only)
    check_shape(trained.model, data, "The run")
    return data


def _folder(trained: Run, folder: Path) -> RetrievalSet:
    """A folder of class folders, whatever the run knows of these."""
    shape = image_shape(trained)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected one with a folder a class.")
    names = class_folders(folder)
    files, labels = list_images(folder, names)
    return RetrievalSet(names, FileImages(folder, files, labels, shape))


def _in_gallery(queries: RetrievalSet, gallery: RetrievalSet) -> RetrievalSet:
    """The queries of one set in those of another, classes matched by name."""
    number: dict[str, int] = {}
    for name in (*queries.class_names, *gallery.class_names):
        number.setdefault(name, len(number))

    def renamed(some: RetrievalSet) -> LabeledDataset:
        labels = torch.tensor([number[name] for name in some.class_names])
        return View(some.queries, labels[some.queries.labels])

    return replace(
        queries, class_names=list(number), queries=renamed(queries), gallery=renamed(gallery)
    )


def _embedded(
    trained: Run, name: str, some: RetrievalSet, config: Config, unread: Unread
) -> tuple[LabeledEmbeddings, LabeledEmbeddings | None, Tensor]:
    """Queries and gallery as embeddings, and the rows of the queries that could be read."""

    def look(data: LabeledDataset, cameras: Tensor | None, title: str) -> tuple[Any, Tensor]:
        test = TestSet(name, data, _same(some), config.loader)
        seen = list(look_at(trained, test, title, unread))
        if not seen:
            unread.check(len(data))
        rows = torch.cat([each.rows for each in seen])
        taken = None if cameras is None else cameras[rows]
        z = torch.cat([each.z for each in seen])
        return LabeledEmbeddings(z, data.labels[rows], taken), rows

    queries, rows = look(some.queries, some.cameras, f"Queries of {name}")
    if some.gallery is None:
        return queries, None, rows
    gallery, _ = look(some.gallery, some.gallery_cameras, f"Gallery of {name}")
    return queries, gallery, rows


def _same(some: RetrievalSet) -> Tensor:
    """The labels of a set as they are."""
    return torch.arange(len(some.class_names))


def _size(some: RetrievalSet) -> int:
    return len(some.queries) + (0 if some.gallery is None else len(some.gallery))
