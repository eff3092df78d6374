"""How large a tensor does an operation make?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestTensor(TorchDispatchMode):
    """Records the largest tensor that any torch operation returns while it is active.

    An expanded view counts as what it stores.

    Attributes:
        elements: of the largest tensor.
        operation: that made it.

    Example:
        >>> with LargestTensor() as largest:
        ...     _ = torch.zeros(3, 4) + 1
        >>> largest.elements
        12
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.operation = "none"

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                stored = leaf.untyped_storage().nbytes() // leaf.itemsize
                elements = min(leaf.numel(), stored)
                if elements > self.elements:
                    self.elements, self.operation = elements, str(func)
        return result
