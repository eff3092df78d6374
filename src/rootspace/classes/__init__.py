"""Classes: which class owns which vector, and which class an embedding is (eqs. (2) and (4))."""

from .assignment import Assignment as Assignment
from .assignment import assign as assign
from .assignment import smallest_angle as smallest_angle
from .class_map import ClassMap as ClassMap
from .class_map import Prediction as Prediction
from .means import ClassMeans as ClassMeans
from .moving import MovingPrototypes as MovingPrototypes
from .neighborhoods import neighborhoods as neighborhoods
from .refine import RefinedMeans as RefinedMeans
from .shuffle import KeyedPermutation as KeyedPermutation
