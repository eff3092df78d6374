"""Classification heads: a loss on embeddings, and the prediction that belongs to it.

A head takes the place of a network's last linear layer and its loss function:

    loss = head(network(x), labels)
    labels, cosines = head.predict(network(x), k=5)

`PrototypeHead` owns no parameter: each class has a unit vector, its prototype. The learned heads
own a vector a class, and are there to compare with.
"""

from .base import EXTRA as EXTRA
from .base import Head as Head
from .learned import ArcFaceHead as ArcFaceHead
from .learned import CosFaceHead as CosFaceHead
from .learned import LearnedHead as LearnedHead
from .learned import LinearHead as LinearHead
from .learned import NormalizedHead as NormalizedHead
from .prototype import PrototypeHead as PrototypeHead
