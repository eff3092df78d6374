"""The evaluation of arXiv 2510.04090 at two scales: `python -m papers.lsc2510`."""
