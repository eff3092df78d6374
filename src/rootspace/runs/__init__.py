"""What a finished run is, and how one is made in a process of its own; knows no torch module."""

from .record import ChoiceRecord as ChoiceRecord
from .record import Confusion as Confusion
from .record import EpochRow as EpochRow
from .record import Evaluation as Evaluation
from .record import Parameters as Parameters
from .record import RunRecord as RunRecord
from .record import TeacherRecord as TeacherRecord
from .record import TestResult as TestResult
from .record import Training as Training
