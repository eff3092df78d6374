"""How much a run remembers of its images, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Policy: TypeAlias = Literal["balanced", "herding", "reservoir"]


@dataclass
class MemoryConfig:
    """The replay memory: images of old classes that training on new ones repeats.

    Attributes:
        size: most images in all, 0 for none.
        policy: which images stay. `balanced`: equally many of each class, drawn at random.
            `herding`: equally many of each class, those whose mean embedding is nearest to that of
            the class (iCaRL, arXiv 1611.07725), which embeds every image of the classes that come
            in. `reservoir`: a uniform sample of all images that came, so large classes keep more.
        share: least share of its images among those of an epoch, in [0, 1): where they are fewer
            they are repeated. 0 for each once.
    """

    size: int = 2000
    policy: Policy = "balanced"
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"Argument 'memory.size' must be at least 0, not {self.size}.")
        if self.policy not in get_args(Policy):
            raise ValueError(
                f"Argument 'memory.policy' must be one of {', '.join(get_args(Policy))}, not "
                f"{self.policy!r}."
            )
        if not 0 <= self.share < 1:
            raise ValueError(f"Argument 'memory.share' must lie in [0, 1), not {self.share}.")
