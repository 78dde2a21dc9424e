"""What a server has done, in numbers for Prometheus."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counts of one server; each of its own, so that several in a process do not mix."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files
        PlatformCollector(registry=registry)
        self._registry = registry
        self.requests = Counter(
            "boxtune_requests", "Requests answered, by path and status", ["path", "status"], registry=registry
        )
        self.abandoned = Counter(
            "boxtune_requests_abandoned",
            "Requests whose client went away before the answer",
            registry=registry,
        )
        self.images = Counter("boxtune_images", "Images in which objects were looked for", registry=registry)
        self.objects = Counter("boxtune_detections", "Detections in answers", registry=registry)
        self.waiting = Gauge("boxtune_images_waiting", "Images that are not answered yet", registry=registry)
        self.held = Gauge(
            "boxtune_held_bytes", "Bytes of the bodies of requests in memory", registry=registry
        )
        self.seconds = Histogram(
            "boxtune_image_seconds",
            "Seconds from the arrival of an image to its detections",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "boxtune_batch_size",
            "Images that the model was given at a time",
            buckets=_BATCHES,
            registry=registry,
        )

    content_type = CONTENT_TYPE_LATEST

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)
