"""The experiments of arXiv 2510.04090, one a module; their docstrings say what the paper claims."""

from __future__ import annotations

from ..experiment import Experiment
from . import (
    fig1_2,
    fig3_4,
    fig6,
    fig7,
    fig9,
    sec6_4,
    sec6_5,
    sec6_6,
    table3,
    table4,
    table5,
    table6,
    table7,
    table8,
    table9,
    table10,
)

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        fig1_2,
        table3,
        table4,
        fig3_4,
        fig6,
        fig7,
        table5,
        table6,
        table7,
        table8,
        fig9,
        table9,
        table10,
        sec6_4,
        sec6_5,
        sec6_6,
    )
}
"""By name, in the order of the paper except where one needs another's runs."""
