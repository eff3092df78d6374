"""Exact nearest neighbors among unit vectors, mostly without a look at all of them."""

from ._scan import scan_levels as scan_levels
from .index import CertifiedIndex as CertifiedIndex
from .index import Found as Found
from .index import Kind as Kind
