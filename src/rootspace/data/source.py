"""What a data source is: files read into labeled training data and named test sets."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .datasets import LabeledDataset
from .preprocessing import ImagePreprocessing


@dataclass(frozen=True)
class RetrievalSet:
    """Inputs that are searched for one another, of classes that training does not have.

    Attributes:
        class_names: label -> name, of these classes.
        queries: what is searched for.
        gallery: what is searched; None for the queries themselves, each without itself.
        cameras: int64 `[queries]`, which camera took each; None where the protocol has no such
            rule. With it a query's own camera does not count as a match.
        gallery_cameras: int64 `[gallery]`, likewise.
        top: k of Recall@k that papers report.
    """

    class_names: Sequence[str]
    queries: LabeledDataset
    gallery: LabeledDataset | None = None
    cameras: Tensor | None = None
    gallery_cameras: Tensor | None = None
    top: tuple[int, ...] = (1, 5, 10)


@dataclass(frozen=True)
class Content:
    """What a data source consists of, once its files are read.

    Attributes:
        class_names: label -> name.
        train: the training data.
        tests: name -> test set, in the order of the loaders.
        preprocessing: of the images; None for inputs that are no images.
        notes: what a user should know of what was read, such as folders that were left out.
        retrieval: name -> what the embeddings of classes that are not trained on are tried on.
    """

    class_names: Sequence[str]
    train: LabeledDataset
    tests: dict[str, LabeledDataset]
    preprocessing: ImagePreprocessing | None
    notes: tuple[str, ...] = ()
    retrieval: dict[str, RetrievalSet] = field(default_factory=dict)


class DataSource(abc.ABC):
    """Labeled data for training, and any number of named test sets.

    The constructor takes the source's own settings and checks them; `read` reads the files. How
    data become batches is up to `DataModule`, or to a `DataLoader` of yours.
    """

    default_transform: str | None = None
    """Import path of the transform of training inputs where settings name none."""

    test_fraction: float = 0.0
    """Share of each class that `read` sets aside as a test set where there is none."""

    num_remembered: int = 0
    """First training inputs that an earlier run was trained on: none of them is set aside."""

    @abc.abstractmethod
    def read(self) -> Content:
        """Find and check the files.

        Raises:
            DataError: they are missing or cannot be used.
        """

    def epoch(self, train: LabeledDataset, seed: int) -> LabeledDataset:
        """What an epoch of training goes over: every training input once.

        Args:
            train: the training data, perhaps under other labels.
            seed: of the run.
        """
        return train
