"""Networks from image to embedding. None of their parameters depends on the number of classes."""

from .embedder import Embedder as Embedder
from .encoder import Encoder as Encoder
from .encoder import num_parameters as num_parameters
from .timm_backbone import TimmBackbone as TimmBackbone
from .timm_weights import ExpectedImages as ExpectedImages
from .timm_weights import expected_images as expected_images
