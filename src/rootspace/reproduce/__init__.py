"""The evaluation of arXiv 2510.04090, reproduced at two scales: `rootspace reproduce`."""

from ._experiment import SCALES as SCALES
from ._experiment import Chart as Chart
from ._experiment import Criterion as Criterion
from ._experiment import Experiment as Experiment
from ._experiment import Figures as Figures
from ._experiment import Job as Job
from ._experiment import MissingFigure as MissingFigure
from ._experiment import NotRun as NotRun
from ._experiment import Outcome as Outcome
from ._experiment import Part as Part
from ._experiment import Row as Row
from ._experiment import Scale as Scale
from ._reproduce import describe_plan as describe_plan
from ._reproduce import reproduce as reproduce
from ._results import Result as Result
from ._results import judge as judge
from ._runner import Store as Store
from ._runner import Task as Task
from ._runner import plan as plan
from ._training import training as training
from .experiments import EXPERIMENTS as EXPERIMENTS
