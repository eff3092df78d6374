"""What the processor can do."""

from __future__ import annotations

from functools import cache

import torch

BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Instructions of x86 and of ARM that multiply bfloat16 numbers."""

INT8 = ("amx_int8", "avx512_vnni", "avx_vnni")
"""Instructions of x86 that sum products of int8 numbers."""


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself.

    Without such instructions layers take five to fifty times as long as in float32. True where
    this version of torch does not know.
    """
    return _has(BFLOAT16, unknown=True)


@cache  # asked for each product
def has_int8() -> bool:
    """Whether torch has fast int8 products on this processor.

    Without such instructions they take twenty times as long as in float32. False where this version
    of torch does not know.
    """
    return hasattr(torch, "_int_mm") and _has(INT8, unknown=False)


def _has(names: tuple[str, ...], unknown: bool) -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return unknown
    found = capabilities()
    return any(found.get(name, False) for name in names)
