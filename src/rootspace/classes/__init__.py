"""Classes: which class owns which vector, and which class an embedding is (eqs. (2) and (4))."""

from ._assign import Assignment as Assignment
from ._assign import assign as assign
from ._class_map import ClassMap as ClassMap
from ._class_map import Prediction as Prediction
from ._classifier_cost import ClassifierCost as ClassifierCost
from ._classifier_cost import classifier_cost as classifier_cost
from ._means import ClassMeans as ClassMeans
from ._neighborhoods import neighborhoods as neighborhoods
from ._permutation import KeyedPermutation as KeyedPermutation
from ._plan import CODE_DIM as CODE_DIM
from ._plan import FAMILIES as FAMILIES
from ._plan import Plan as Plan
from ._plan import PlanRow as PlanRow
from ._plan import code_for as code_for
from ._plan import plan as plan
from ._plan import smallest_dim as smallest_dim
from ._refined_means import RefinedMeans as RefinedMeans
