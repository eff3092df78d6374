"""Thresholds with a stated error rate, and their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rootspace.continual import KnownScore, Rejector

COSINE = KnownScore()


def calibrate(known, unknown=None, rate: float = 0.05, **more) -> Rejector:
    return Rejector.calibrate(COSINE, known, unknown, rate=rate, known_cosine=0.9, **more)


@given(
    scores=st.lists(st.integers(0, 30), min_size=1, max_size=80),
    rate=st.floats(0.01, 0.99),
    accept=st.booleans(),
)
def test_the_promised_rate_is_kept_and_used(scores: list[int], rate: float, accept: bool):
    values = torch.tensor(scores, dtype=torch.float32)
    allowed = int(rate * (len(scores) + 1) + 1e-9)
    if not allowed:
        with pytest.raises(ValueError, match=rf"'rate' must be at least 1/{len(scores) + 1} with"):
            calibrate(values, values if accept else None, rate)
        return
    rejector = calibrate(values, values if accept else None, rate)
    unknown = rejector.is_unknown(values)
    wrong = ~unknown if accept else unknown
    # No more than allowed are on the wrong side, and one step further too many would be.
    assert int(wrong.sum()) < max(allowed, 1) or (accept and int(wrong.sum()) <= allowed)
    step = torch.tensor(scores).unique()
    if accept:
        assert rejector.promise == "false_accept" and rejector.false_accept == wrong.double().mean()
        lower = step[step < rejector.threshold]
        assert not len(lower) or int((values >= lower[-1]).sum()) >= allowed
    else:
        assert rejector.promise == "false_reject" and rejector.false_accept is None
        assert rejector.false_reject == wrong.double().mean()
        assert int((values <= rejector.threshold).sum()) >= allowed


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("number", [19, 50, 300])
def test_new_inputs_err_at_the_stated_rate(accept: bool, number: int):
    """In expectation over calibration sets, as split conformal prediction promises."""
    generator = torch.Generator().manual_seed(number)
    errors = []
    for _ in range(2000):
        old, new = torch.randn(2, number, generator=generator, dtype=torch.float64)
        rejector = calibrate(old, old if accept else None, 0.1)
        rejected = rejector.is_unknown(new).double().mean()
        errors.append(float(1 - rejected if accept else rejected))
    mean = sum(errors) / len(errors)
    expected = int(0.1 * (number + 1)) / (number + 1)
    assert mean == pytest.approx(expected, abs=0.01) and expected <= 0.1


def test_inputs_without_a_class_count_as_rejected():
    known = torch.cat([torch.full((4,), -torch.inf), torch.linspace(0.5, 1, 96)])
    rejector = calibrate(known, rate=0.1)
    assert rejector.false_reject == pytest.approx(0.09) and rejector.threshold > 0.5
    with pytest.raises(ValueError, match=r"'rate' must be above 0\.04: .* not 0\.03"):
        calibrate(known, rate=0.03)
    never = torch.full((50,), -torch.inf)
    rejector = calibrate(known, never)
    assert rejector.false_accept == 0 and rejector.false_reject == 0.04
    assert bool(rejector.is_unknown(never).all())


def test_file(tmp_path: Path):
    path = tmp_path / "rejector.json"
    score = KnownScore("probability", 11.5, 7, True)
    known, unknown = torch.rand(100), torch.rand(60) / 2
    for other in (None, unknown):
        rejector = Rejector.calibrate(score, known, other, rate=0.07, known_cosine=0.8, source="字")
        rejector.save(path)
        assert Rejector.load(path) == rejector
        assert [p.name for p in tmp_path.iterdir()] == ["rejector.json"]
        kind = "false accepts" if other is not None else "false rejects"
        assert f"at most 7.00% {kind}, calibrated on " in str(rejector)
    content = json.loads(path.read_text(encoding="utf-8"))
    for wrong, message in (
        ({**content, "format": 2}, "format 2, .* reads 1: upgrade it"),
        ({**content, "more": 1}, "is not a rejector of rootspace"),
        ([], "is not a rejector of rootspace"),
        ("{", "is not a rejector of rootspace"),
    ):
        path.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(ValueError, match=message):
            Rejector.load(path)
    with pytest.raises(FileNotFoundError):
        Rejector.load(tmp_path / "none")


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_rate(rate: float):
    with pytest.raises(ValueError, match="'rate' must lie between 0 and 1"):
        calibrate(torch.rand(100), rate=rate)


def test_scores():
    with pytest.raises(ValueError, match="'unknown' must hold scores"):
        calibrate(torch.rand(100), torch.rand(3, 3))
    with pytest.raises(ValueError, match="'known' must not hold NaN"):
        calibrate(torch.full((100,), torch.nan))
    with pytest.raises(ValueError, match=r"'rate' must be at least 1/6 with 5 .* bring 19 or more"):
        calibrate(torch.rand(5))
