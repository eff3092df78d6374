"""Training: Algorithm 1 of arXiv 2510.04090 on Lightning, from a config to a run folder."""

from .callbacks import StoppedByUser as StoppedByUser
from .config import ClassesConfig as ClassesConfig
from .config import RunConfig as RunConfig
from .config import TrainConfig as TrainConfig
from .config import WarmupConfig as WarmupConfig
from .config import default_loss as default_loss
from .embedder import Embedder as Embedder
from .module import LSCModule as LSCModule
from .objectives import LEARNED_LOSSES as LEARNED_LOSSES
from .objectives import VECTOR_LOSSES as VECTOR_LOSSES
from .objectives import AssignedObjective as AssignedObjective
from .objectives import LearnedObjective as LearnedObjective
from .objectives import LinearCE as LinearCE
from .objectives import NormalizedSoftmax as NormalizedSoftmax
from .objectives import Objective as Objective
from .objectives import VectorObjective as VectorObjective
from .objectives import WarmupObjective as WarmupObjective
from .run import train as train
from .run_folder import TrainedRun as TrainedRun
from .run_folder import read_run as read_run
