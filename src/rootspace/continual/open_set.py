"""Which inputs are known: scores, their fitted scale, a threshold with a stated error rate."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from rootspace._files import write_json
from rootspace.classes import ClassMap, Prediction
from rootspace.metrics.open_set import checked_scores
from rootspace.systems import MAX_INDEX

Kind = Literal["cosine", "probability", "system_probability"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 1024
"""Embeddings whose log partition is taken together."""


@dataclass(frozen=True)
class KnownScore:
    """How known an input is, from its embedding and its nearest classes; higher is more known.

    Args:
        kind: `"cosine"` to the nearest class vector; `"probability"` of the nearest class among the
            k nearest, exp(s cos) over their sum; `"system_probability"`, the same over ALL vectors
            of the system by its exact log partition, so that vectors without a class share it too;
            only for systems that can be numbered.
        scale: s of the probabilities, by `fit_scale`; None for cosines.
        k: classes that share the probability.
        reject_unassigned: score -inf where the nearest vector of the system belongs to no class or
            a retired one. For systems most of whose vectors have one.

    Raises:
        ValueError: an unknown kind, k below 2, a missing or needless scale.
    """

    kind: Kind = "cosine"
    scale: float | None = None
    k: int = 10
    reject_unassigned: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Argument 'kind' must be one of {list(KINDS)}, not {self.kind!r}.")
        if self.k < 2:
            raise ValueError(f"Argument 'k' must be at least 2, not {self.k}.")
        if (self.scale is None) != (self.kind == "cosine"):
            wanted = "None" if self.kind == "cosine" else "a positive number"
            raise ValueError(f"Argument 'scale' must be {wanted} for {self.kind}: {self.scale}.")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"Argument 'scale' must be positive, not {self.scale}.")

    @property
    def width(self) -> int:
        """How many of the nearest classes a score needs."""
        return self.k if self.kind == "probability" else 1

    def __call__(
        self,
        prediction: Prediction,
        z: Tensor,
        classes: ClassMap | None = None,
        retired: Tensor | None = None,
    ) -> Tensor:
        """The scores of some inputs.

        Args:
            prediction: `[N, width]` or wider, their nearest classes.
            z: `[N, dim]`, their embeddings.
            classes: the class map; needed for `"system_probability"` and `reject_unassigned`.
            retired: `[R]` labels that count as no class for `reject_unassigned`.

        Returns:
            `[N]` float64: cosines in [-1, 1] or probabilities in [0, 1].

        Raises:
            ValueError: the class map is missing: learned heads have no vector system.
        """
        if classes is None and (self.kind == "system_probability" or self.reject_unassigned):
            raise ValueError(
                "Argument 'classes' must be a ClassMap for 'system_probability' and "
                "'reject_unassigned'; a learned head has no vector system."
            )
        cosine = prediction.cosine.double()
        if self.kind == "cosine":
            score = cosine[:, 0]
        elif self.kind == "probability":
            assert self.scale is not None
            score = torch.softmax(self.scale * cosine[:, : self.k], dim=-1)[:, 0]
        else:
            assert classes is not None
            best = prediction.label[:, :1]
            parts = [
                classes.probability(part, label, self.scale)[:, 0].double()
                for part, label in zip(z.split(CHUNK), best.split(CHUNK), strict=True)
            ]
            score = torch.cat(parts).clamp(max=1)
        if self.reject_unassigned:
            assert classes is not None
            owner = classes.predict(z, reject_unassigned=True).label[:, 0]
            absent = owner < 0
            if retired is not None:
                absent |= torch.isin(owner, retired.to(owner.device))
            score = torch.where(absent, -torch.inf, score)
        return score


def fit_score(
    kind: Kind,
    prediction: Prediction,
    z: Tensor,
    labels: Tensor,
    own: Tensor,
    *,
    classes: ClassMap | None = None,
    reject_unassigned: bool = False,
) -> KnownScore:
    """A score with its scale fitted on known inputs.

    Args:
        kind: of the score.
        prediction: `[N, k]`, their k nearest classes, k at least 2.
        z: `[N, dim]`, their embeddings.
        labels: `[N]`, their true classes.
        own: `[N]`, cosines to the vectors of these.
        classes: the class map; needed for `"system_probability"`.
        reject_unassigned: see `KnownScore`.

    Raises:
        ValueError: no inputs, an unknown kind, or the class map is missing or its system too large
            for `"system_probability"`.
    """
    if kind == "cosine":
        return KnownScore(kind, reject_unassigned=reject_unassigned)
    k = prediction.label.shape[1]
    is_own = prediction.label == labels[:, None]
    if kind != "system_probability":
        scale = fit_scale(prediction.cosine, own, is_own)
        return KnownScore(kind, scale, k, reject_unassigned)
    if classes is None:
        raise ValueError(
            "Argument 'classes' must be a ClassMap for 'system_probability'; a learned head has no "
            "vector system."
        )
    system = classes.system
    if system.size > MAX_INDEX:
        raise ValueError(
            "Argument 'kind' must be 'probability' or 'cosine' for a system too large to be "
            f"numbered: vectors without a class share all of the probability in {system!r}."
        )

    def log_total(scale: float) -> Tensor:
        return torch.cat([system.log_partition(part, scale) for part in z.split(CHUNK)])

    scale = fit_scale(prediction.cosine, own, is_own, log_total)
    return KnownScore(kind, scale, k, reject_unassigned)


LOWEST, HIGHEST = 0.1, 1e4
"""Scales searched."""

STEPS = 40
"""Of a golden-section search: the scale to within a part in 10^7."""


def fit_scale(
    cosines: Tensor,
    own: Tensor,
    is_own: Tensor,
    log_total: Callable[[float], Tensor] | None = None,
) -> float:
    """The scale at which the true classes of known inputs are most likely: temperature scaling.

    Minimizes the mean of log_total(s) - s * own over s (arXiv 1706.04599, sec. 4.2, with s = 1/T),
    a convex function. Where every input is right it would fall for ever; so the share 1 / (N + 2)
    of each target goes to the k best alike, as Platt (1999) smooths his, and the scale is finite.

    Args:
        cosines: `[N, k]` to the k best classes, best first; k at least 2.
        own: `[N]` to the true class.
        is_own: `[N, k]` bool, which of the k best is the true class; in no place where it is none.
        log_total: from s to `[N]`, the log of the sum of exp(s * cosine) over everything that
            shares the probability; None for the k best and the true class.

    Returns:
        The scale, an inverse temperature.

    Raises:
        ValueError: no inputs, or fewer than two classes.
    """
    if cosines.ndim != 2 or not len(cosines) or cosines.shape[1] < 2:
        raise ValueError(
            "Argument 'cosines' must have shape [N, k] with N at least 1 and k at least 2, not "
            f"{tuple(cosines.shape)}."
        )
    cosines, own = cosines.double(), own.double()
    # The true class once, whether or not it is one of the k best.
    extra = torch.where(is_own.any(dim=-1), -torch.inf, own)
    shared = torch.cat([cosines, extra[:, None]], dim=-1)
    smooth = 1 / (len(own) + 2)
    target = (1 - smooth) * own + smooth * cosines.mean(dim=-1)

    def loss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        total = torch.logsumexp(scale * shared, -1) if log_total is None else log_total(scale)
        return float((total.double() - scale * target).mean())

    return math.exp(_minimum(loss, math.log(LOWEST), math.log(HIGHEST)))


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is smallest, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


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
        text = path.read_bytes()
        try:
            content = json.loads(text)
            version = content.pop("format")
            if version != FORMAT:
                raise ValueError(
                    f"format {version!r}, this version of rootspace reads {FORMAT}: upgrade it"
                )
            rejector = cls(KnownScore(**content.pop("score")), **content)
            rejector._check_types()
        except (
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            ValueError,
        ) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is not a rejector of rootspace: {reason}.") from error
        return rejector

    def _check_types(self) -> None:
        """Raise a ValueError for values that a file may hold and `calibrate` gives none."""
        shares = (self.false_reject, *(() if self.false_accept is None else [self.false_accept]))
        for name, fits in (
            ("threshold", _is_number(self.threshold) and not math.isnan(self.threshold)),
            ("promise", self.promise in ("false_accept", "false_reject")),
            ("rate", _is_number(self.rate) and 0 < self.rate < 1),
            ("false_reject", all(_is_number(x) and 0 <= x <= 1 for x in shares)),
            (
                "num_known",
                all(type(n) is int and n >= 0 for n in (self.num_known, self.num_unknown)),
            ),
            ("known_cosine", _is_number(self.known_cosine) and math.isfinite(self.known_cosine)),
            ("source", isinstance(self.source, str)),
            ("scale", self.score.scale is None or _is_number(self.score.scale)),
            ("k", type(self.score.k) is int),
            ("reject_unassigned", isinstance(self.score.reject_unassigned, bool)),
        ):
            if not fits:
                raise ValueError(f"'{name}' has a value that cannot be")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _allowed(rate: float, number: int, kind: str) -> int:
    """How many of `number` inputs may fall on the wrong side."""
    allowed = math.floor(rate * (number + 1) + 1e-9)
    if not allowed:
        raise ValueError(
            f"Argument 'rate' must be at least 1/{number + 1} with {number} {kind} inputs, not "
            f"{rate}: bring {math.ceil(1 / rate - 1e-9) - 1} or more."
        )
    return min(allowed, number)
