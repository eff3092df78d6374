"""A label set that lives: classes that come and change, and inputs that belong to none.

What needs more than torch is imported by its module: `of_run` (the files of a run), `extension`
(`rootspace extend`) and `replay` (its memory of images).
"""

from ._detection import auroc as auroc
from ._detection import fpr_at_tpr as fpr_at_tpr
from ._exclude import predict_without as predict_without
from ._groups import group_by_cosine as group_by_cosine
from ._groups import group_by_vector as group_by_vector
from ._herding import herding as herding
from ._known_score import KINDS as KINDS
from ._known_score import KnownScore as KnownScore
from ._known_score import fit_score as fit_score
from ._memory_config import MemoryConfig as MemoryConfig
from ._proposals import Proposal as Proposal
from ._proposals import propose as propose
from ._records import Change as Change
from ._records import ClassEntry as ClassEntry
from ._records import StaleRegistryError as StaleRegistryError
from ._registry import ClassRegistry as ClassRegistry
from ._rejector import Rejector as Rejector
from ._shares import shares as shares
from ._temperature import fit_scale as fit_scale
