"""Settings of small runs, of teachers and students."""

DATA = ["--data=Characters", "--data.num_classes=30", "--data.image_size=16"]
SMALL = [*DATA, "--loader.batch_size=32", "--model.width=4", "--train.lr=3e-3"]
