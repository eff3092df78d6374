"""Names that the doctests of src and docs use without importing them; settings of torch."""

import pytest
import torch

import rootspace.choosing
import rootspace.classes
import rootspace.continual
import rootspace.heads
import rootspace.losses
import rootspace.sampling
import rootspace.systems
import rootspace.testing

torch.set_num_threads(1)  # the tensors of tests are small: a second thread costs more than it does


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace["torch"] = torch
    for module in (
        rootspace.systems,
        rootspace.classes,
        rootspace.continual,
        rootspace.losses,
        rootspace.testing,
        rootspace.heads,
        rootspace.choosing,
        rootspace.sampling,
    ):
        doctest_namespace.update(
            {name: value for name, value in vars(module).items() if name[0].isupper()}
        )
    doctest_namespace["choose_prototypes"] = rootspace.choosing.choose_prototypes
    doctest_namespace["check_system"] = rootspace.testing.check_system
