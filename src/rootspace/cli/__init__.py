"""The command `rootspace`."""

from ._main import main as main
