"""Operations that decoding uses and PyTorch's ONNX exporter has no translation for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rootspace._extras import require


def translations() -> dict[Any, Callable[..., Any]]:
    """By overload of the operation, for `torch.onnx.export(custom_translation_table=...)`."""
    onnxscript = require("onnxscript", extra="onnx", purpose="Export to ONNX")
    op: Any = onnxscript.opset18
    ir: Any = onnxscript.ir

    def sort_stable(self: Any, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
        # TopK puts the smaller position first where values are equal, so it is stable.
        shape = op.Shape(self)
        length = op.Gather(shape, op.Constant(value_ints=[dim]))
        return op.TopK(self, length, axis=dim, largest=int(descending), sorted=1)

    def searchsorted(
        sorted_sequence: Any,
        self: Any,
        out_int32: bool = False,
        right: bool = False,
        side: str | None = None,
        sorter: Any = None,
    ) -> Any:
        """A binary search, unrolled: log2 of the length of a one-dimensional sequence."""
        size = int(sorted_sequence.shape[0])
        place, step = op.Mul(self, number(0)), 1 << (size.bit_length() - 1)
        while step:
            further = op.Add(place, number(step))
            last = op.Sub(op.Min(further, number(size)), number(1))
            value = op.Gather(sorted_sequence, last)
            before = op.LessOrEqual(value, self) if right else op.Less(value, self)
            before = op.And(before, op.LessOrEqual(further, number(size)))
            place, step = op.Where(before, further, place), step // 2
        return place

    def total(self: Any, dim: Any = None, keepdim: bool = False, dtype: int | None = None) -> Any:
        if dtype not in (None, -1) or self.dtype == ir.DataType.BOOL:
            self = op.Cast(self, to=ir.DataType.INT64 if dtype in (None, -1) else dtype)
        dims = [dim] if isinstance(dim, int) else list(dim or range(len(self.shape)))
        if self.dtype == ir.DataType.INT64 and len(dims) == 1:
            # onnxruntime sums 64-bit integers in float64, which loses numbers above 2**53; its
            # running sums are exact.
            sums = op.CumSum(self, number(dims[0]))
            last = op.Constant(value_ints=[-1]) if keepdim else number(-1)
            return op.Gather(sums, last, axis=dims[0])
        return op.ReduceSum(self, op.Constant(value_ints=dims), keepdims=int(keepdim))

    def number(value: int) -> Any:
        return op.Constant(value_int=value)

    return {
        torch.ops.aten.sum.dim_IntList: total,
        torch.ops.aten.sort.stable: sort_stable,
        torch.ops.aten.searchsorted.Tensor: searchsorted,
    }
