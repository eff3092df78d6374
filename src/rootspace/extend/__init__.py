"""Classes added to a trained run, with a memory of its old images: `rootspace extend`."""
