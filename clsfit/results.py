"""What a model says of pictures: predictions, and evaluations on labelled ones. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one picture.

    Attributes:
        path: as it was given.
        predicted: the most probable class; empty where the picture cannot be read.
        probability: of that class, in 0..1; None where the picture cannot be read.
        error: why the picture cannot be read; empty if it can.
        class_names: in the order of ``probabilities``.
        probabilities: of each class, summing to one; empty where the picture cannot be read.
    """

    path: str
    predicted: str
    probability: float | None
    error: str
    class_names: tuple[str, ...] = field(repr=False)
    probabilities: tuple[float, ...] = field(repr=False)

    @property
    def ranked(self) -> tuple[tuple[str, float], ...]:
        """(class, probability) in descending order, equal ones in the order of the classes."""
        order = sorted(range(len(self.probabilities)), key=lambda k: -self.probabilities[k])
        return tuple((self.class_names[k], self.probabilities[k]) for k in order)


@dataclass(frozen=True, slots=True)
class EvaluatedPicture:
    """One judged picture: its label, and what the model says."""

    path: str
    label: str
    predicted: str
    probability: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What judging a model on labelled pictures gave.

    Attributes:
        split: which pictures were judged: train, val, test or all.
        scores: ``loss`` and each metric; None where undefined.
        per_class: for metrics that have it, the value for each class.
        higher_is_better: the direction of improvement of each metric.
        rows: the pictures, in the table's order.
        class_names: in the order of the logits.
    """

    split: str
    scores: dict[str, float | None]
    per_class: dict[str, dict[str, float | None]]
    higher_is_better: dict[str, bool]
    rows: list[EvaluatedPicture] = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)
