"""What the processor can do."""

from __future__ import annotations

import torch

BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Instructions of x86 and of ARM that multiply bfloat16 numbers."""


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 numbers itself.

    Without such instructions layers take five to fifty times as long as in float32. True where
    this version of torch does not know.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return True
    found = capabilities()
    return any(found.get(name, False) for name in BFLOAT16)
