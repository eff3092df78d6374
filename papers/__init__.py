"""Experiments of papers, run from a checkout; not part of the installed library."""
