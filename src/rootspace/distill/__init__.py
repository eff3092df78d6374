"""A teacher's embeddings as the targets of a smaller network (Sec. 6.5 of arXiv 2510.04090)."""
