"""What embeddings are worth: retrieval, verification, unknowns; functions of tensors alone."""

from .embeddings import LabeledEmbeddings as LabeledEmbeddings
from .open_set import OpenSetMetrics as OpenSetMetrics
from .open_set import auroc as auroc
from .open_set import dir_at_far as dir_at_far
from .open_set import fpr_at_tpr as fpr_at_tpr
from .open_set import open_set_metrics as open_set_metrics
from .open_set import oscr as oscr
from .retrieval import MatchRanks as MatchRanks
from .retrieval import RetrievalMetrics as RetrievalMetrics
from .retrieval import match_ranks as match_ranks
from .retrieval import retrieval_metrics as retrieval_metrics
from .verification import VerificationMetrics as VerificationMetrics
from .verification import verify_all as verify_all
from .verification import verify_pairs as verify_pairs
