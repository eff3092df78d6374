"""Golden values of the keyed permutation, in big integers of pure Python.

Written from the definition, without the library:

- splitmix64 (Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014)
  started at the low 64 bits of the seed gives the six round keys;
- an element is the pair of its digits, left * low + right, with low = ceil(sqrt(size)) and left in
  [0, high), high = ceil(size / low);
- even rounds add hash(right) to left modulo high, odd rounds add hash(left) to right modulo low,
  where hash(x) = splitmix64's finalizer of (x * golden gamma + key), halved, modulo the radix;
- a result outside [0, size) goes through the rounds again (cycle walking, Black and Rogaway 2002).

Run: python scripts/make_golden_permutation.py
"""

import json
import math
import random
from pathlib import Path

SIZES = (1, 2, 10, 1000, 147_840, 56_770_560, 10**15, 2**63 - 1)
SEEDS = (0, 1, 12345, -1, 2**64 - 1)
WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def finalize(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB % WORD
    return x ^ x >> 31


class Permutation:
    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.low = math.isqrt(size)
        self.low += self.low**2 < size
        self.high = (size + self.low - 1) // self.low
        assert self.low * self.high >= size
        self.keys = [finalize((seed + (i + 1) * GAMMA) % WORD) for i in range(6)]

    def hash(self, x: int, key: int, radix: int) -> int:
        return finalize((x * GAMMA + key) % WORD) // 2 % radix

    def step(self, element: int) -> int:
        left, right = divmod(element, self.low)
        for i, key in enumerate(self.keys):
            if i % 2 == 0:
                left = (left + self.hash(right, key, self.high)) % self.high
            else:
                right = (right + self.hash(left, key, self.low)) % self.low
        return left * self.low + right

    def step_back(self, element: int) -> int:
        left, right = divmod(element, self.low)
        for i, key in reversed(list(enumerate(self.keys))):
            if i % 2 == 0:
                left = (left - self.hash(right, key, self.high)) % self.high
            else:
                right = (right - self.hash(left, key, self.low)) % self.low
        return left * self.low + right

    def __call__(self, element: int) -> int:
        element = self.step(element)
        while element >= self.size:
            element = self.step(element)
        return element

    def walkers(self, count: int) -> list[int]:
        """Elements whose first step leaves [0, size)."""
        outside = range(self.low * self.high - 1, self.size - 1, -1)[:count]
        before = [self.step_back(element) for element in outside]
        return [element for element in before if element < self.size]


def entry(size: int, seed: int) -> dict:
    permutation = Permutation(size, seed)
    draw = random.Random(size ^ seed)
    some = {0, 1, 2, size // 3, size // 2, size - 2, size - 1}
    some |= {draw.randrange(size) for _ in range(12)}
    elements = sorted(element for element in some if 0 <= element < size)
    if size <= 1000:
        images = [permutation(element) for element in range(size)]
        assert sorted(images) == list(range(size))
    walkers = sorted(permutation.walkers(3))
    return {
        "size": size,
        "seed": seed,
        "elements": elements,
        "images": [permutation(element) for element in elements],
        "walkers": walkers,
        "walker_images": [permutation(element) for element in walkers],
    }


if __name__ == "__main__":
    entries = [entry(size, seed) for size in SIZES for seed in SEEDS]
    target = Path(__file__).parents[1] / "tests" / "golden" / "permutation.json"
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    target.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
