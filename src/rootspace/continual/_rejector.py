"""Which inputs are unknown: a threshold with a stated error rate."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from rootspace._files import write_json

from ._detection import checked_scores
from ._known_score import KnownScore

FORMAT = 1
"""Version of the file that `Rejector.save` writes."""


@dataclass(frozen=True)
class Rejector:
    """Reports an input as unknown where its score lies below a threshold.

    Attributes:
        score: what is compared with the threshold.
        threshold: the lowest score of a known input.
        promise: which error has the stated rate. `"false_accept"`: an unknown input taken for
            known, calibrated on unknown inputs. `"false_reject"`: a known input reported as
            unknown, calibrated on known inputs alone; it says nothing about unknown ones.
        rate: the stated rate. In expectation over calibration sets the error of a new input of the
            same kind is at most this, whatever the distribution of scores: split conformal
            prediction (arXiv 2107.07511).
        false_reject: share of the known calibration inputs that are rejected.
        false_accept: share of the unknown calibration inputs that are accepted; None without any.
        num_known: known calibration inputs.
        num_unknown: unknown calibration inputs.
        known_cosine: median cosine of known inputs to the vectors of their classes.
        source: the calibration inputs, in words.
    """

    score: KnownScore
    threshold: float
    promise: Literal["false_accept", "false_reject"]
    rate: float
    false_reject: float
    false_accept: float | None
    num_known: int
    num_unknown: int
    known_cosine: float
    source: str = ""

    @classmethod
    def calibrate(
        cls,
        score: KnownScore,
        known: Tensor,
        unknown: Tensor | None = None,
        *,
        rate: float = 0.05,
        known_cosine: float,
        source: str = "",
    ) -> Rejector:
        """The threshold that keeps an error rate.

        With unknown inputs the rate is that of false accepts and the threshold the lowest that
        keeps it; else that of false rejects, and the threshold the highest.

        Args:
            score: that gave the scores.
            known: `[N]` scores of inputs of known classes that were not trained on.
            unknown: `[M]` scores of inputs of other classes, or None.
            rate: wanted, in (0, 1).
            known_cosine: median cosine of the known inputs to the vectors of their classes.
            source: the inputs, in words.

        Raises:
            ValueError: a rate out of range or too low for so few inputs, no scores, NaN; or more
                known inputs have score -inf than may be rejected.
        """
        if not 0 < rate < 1:
            raise ValueError(f"Argument 'rate' must lie between 0 and 1, not {rate}.")
        known = checked_scores(known, "known")
        if unknown is None:
            allowed = _allowed(rate, len(known), "known")
            # Below the r-th smallest of n scores a new one falls with probability r / (n + 1) at
            # most.
            threshold = float(known.sort().values[allowed - 1])
            if threshold == -math.inf:
                raise ValueError(
                    f"Argument 'rate' must be above {float((known == -torch.inf).double().mean())}:"
                    f" so many known inputs lie nearest to a vector without a class, not {rate}. "
                    "Calibrate without 'reject_unassigned'."
                )
            false_accept, num_unknown = None, 0
        else:
            unknown = checked_scores(unknown, "unknown")
            allowed = _allowed(rate, len(unknown), "unknown")
            # As above: only what lies above the r-th largest is accepted.
            limit = float(unknown.sort(descending=True).values[allowed - 1])
            threshold = math.nextafter(limit, math.inf)
            false_accept = float((unknown >= threshold).double().mean())
            num_unknown = len(unknown)
        return cls(
            score,
            threshold,
            "false_reject" if unknown is None else "false_accept",
            rate,
            float((known < threshold).double().mean()),
            false_accept,
            len(known),
            num_unknown,
            known_cosine,
            source,
        )

    def is_unknown(self, scores: Tensor) -> Tensor:
        """`[...]` scores -> `[...]` bool."""
        return scores.double() < self.threshold

    def __str__(self) -> str:
        what = self.score.kind.replace("_", " ")
        accepts = (
            ""
            if self.false_accept is None
            else f", accepts {self.false_accept:.1%} of {self.num_unknown:,} unknown ones"
        )
        promise = (
            f"at most {self.rate:.2%} false accepts, calibrated on unknown inputs"
            if self.promise == "false_accept"
            else f"at most {self.rate:.2%} false rejects, calibrated on known inputs only"
        )
        return (
            f"unknown below {what} {self.threshold:.6g}: {promise}; rejects "
            f"{self.false_reject:.1%} of {self.num_known:,} known inputs{accepts}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, all or nothing."""
        write_json(Path(path), {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rejector:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is something else, or of a newer format.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != FORMAT:
                raise ValueError(
                    f"{path} has format {version}, this version of rootspace reads {FORMAT}: "
                    "upgrade it."
                )
            return cls(KnownScore(**content.pop("score")), **content)
        except (
            KeyError,
            TypeError,
            AttributeError,
            UnicodeDecodeError,
            json.JSONDecodeError,
        ) as error:
            raise ValueError(f"{path} is not a rejector of rootspace: {error!r}.") from error


def _allowed(rate: float, number: int, kind: str) -> int:
    """How many of `number` inputs may fall on the wrong side."""
    allowed = math.floor(rate * (number + 1) + 1e-9)
    if not allowed:
        raise ValueError(
            f"Argument 'rate' must be at least 1/{number + 1} with {number} {kind} inputs, not "
            f"{rate}: bring {math.ceil(1 / rate - 1e-9) - 1} or more."
        )
    return min(allowed, number)
