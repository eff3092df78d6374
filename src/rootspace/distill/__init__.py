"""A teacher's embeddings as the targets of a smaller network (Sec. 6.5 of arXiv 2510.04090).

`distillation` (the files of a run) is imported by its module.
"""

from ._config import TARGETS as TARGETS
from ._config import TeacherConfig as TeacherConfig
