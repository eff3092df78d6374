"""The contract of a vector system, as checks: for rootspace's own systems and for yours.

`check_system(MySystem(8))` compares every method with brute force and says which property does
not hold. Needs torch only.
"""

from ._case import SystemCase as SystemCase
from ._check import PROPERTIES as PROPERTIES
from ._check import check_property as check_property
from ._check import check_system as check_system
from ._check import properties_of as properties_of
from ._memory import LargestTensor as LargestTensor
