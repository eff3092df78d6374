"""Characters drawn from fonts: the data set that every machine already has."""

from .source import Characters as Characters
