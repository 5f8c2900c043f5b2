"""What a service counts of itself, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recast.stages.serving.pool import Pool

KIND = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counted:
    """Requests by target and status, how long they took, samples, and how many wait; all in a registry of its own."""

    def __init__(self, pools: dict[str, Pool]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        on = self._registry
        self._requests = Counter("recast_requests", "Requests that were answered", ["target", "status"], registry=on)
        self._seconds = Histogram(
            "recast_request_seconds",
            "From the body of a request to its answer, waiting included",
            ["target"],
            registry=on,
            buckets=_BOUNDS_S,
        )
        self._samples = Counter("recast_samples", "Samples that were answered for", ["target"], registry=on)
        asked = Gauge("recast_requests_now", "Requests that wait or are at work", ["target"], registry=on)
        ready = Gauge("recast_ready", "Whether a process of the model is there to answer", ["target"], registry=on)
        for target, pool in pools.items():
            asked.labels(target).set_function(lambda pool=pool: pool.asked)
            ready.labels(target).set_function(lambda pool=pool: float(pool.is_ready))

    def answered(self, target: str, status: int, seconds: float, samples: int) -> None:
        """Count a request."""
        self._requests.labels(target, str(status)).inc()
        self._seconds.labels(target).observe(seconds)
        if samples:
            self._samples.labels(target).inc(samples)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        from prometheus_client import generate_latest

        made: bytes = generate_latest(self._registry)
        return made
