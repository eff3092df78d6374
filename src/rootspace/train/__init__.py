"""Training: Algorithm 1 of arXiv 2510.04090 on Lightning, from settings to a run folder."""
