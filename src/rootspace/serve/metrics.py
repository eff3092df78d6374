"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Of one server.

    Args:
        waiting: how many images are in the queue now.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rootspace_requests", "Answers.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "rootspace_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._images = Counter(
            "rootspace_images",
            "Images by what became of them.",
            ["outcome"],
            registry=self._registry,
        )
        self._batches = Histogram(
            "rootspace_batch_images",
            "Images that went through the network together.",
            buckets=SIZES,
            registry=self._registry,
        )
        self._network = Histogram(
            "rootspace_batch_seconds",
            "Of network and search.",
            buckets=SECONDS,
            registry=self._registry,
        )
        gauge = Gauge("rootspace_images_waiting", "Images in the queue.", registry=self._registry)
        gauge.set_function(waiting)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request has got its answer.

        Args:
            route: its template, so that there are few of them.
            status: of HTTP.
            seconds: it took.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """A batch went through the network."""
        self._batches.observe(size)
        self._network.observe(seconds)

    def images(self, read: int, refused: int) -> None:
        """Images came."""
        self._images.labels("read").inc(read)
        self._images.labels("refused").inc(refused)

    def text(self) -> bytes:
        """In the format of Prometheus."""
        return generate_latest(self._registry)
