"""What `verify` measured of a released model, as the card and the bill of materials say it."""

from __future__ import annotations

from dataclasses import dataclass

from recast.pipeline.release.subject import Subject


@dataclass(frozen=True)
class Score:
    """One number."""

    name: str
    of: str
    """the model it was measured of: `emitted`, `float`, or `emitted against float`"""
    value: float
    is_share: bool

    @property
    def shown(self) -> str:
        """For people: a share in percent."""
        return f"{100 * self.value:.2f} %" if self.is_share else f"{self.value:.4g}"


def scores(subject: Subject) -> list[Score]:
    """The metric of the task, of the emitted model and of the float one, and how far both agree; what was measured."""
    measured = subject.metrics[subject.verifying.id]
    metric, is_share = measured.get("metric"), bool(measured.get("is_share"))
    wanted = [(str(metric), of, f"{metric}_{of}", is_share) for of in ("emitted", "float")] if metric else []
    against = "emitted against float"
    wanted += [("agreement", against, "agreement", True), ("cosine", against, "cosine", False)]
    wanted += [("sqnr_db", against, "sqnr_db", False), ("max_abs_error", against, "max_abs_error", False)]
    found = []
    for name, of, key, share in wanted:
        value = measured.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(Score(name, of, float(value), share))
    return found
