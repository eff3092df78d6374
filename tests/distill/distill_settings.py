"""Settings of small runs, of teachers and students."""

DATA = ["--data.num_classes=30", "--data.image_size=16", "--data.batch_size=32"]
SMALL = [*DATA, "--model.width=4", "--train.lr=3e-3"]
