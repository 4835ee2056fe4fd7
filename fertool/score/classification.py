"""How well a run classifies: the measures that the field reports."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


def classification_scores(predicted: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 of each class, macro and weighted, and the confusion matrix.

    `predicted` and `labels` are class codes, int64 (N,). In the matrix rows are true classes, columns are
    predicted ones. A class that is never predicted has precision 0; one without faces has recall 0.
    """
    codes = list(range(len(classes)))

    def averaged(average: str | None) -> tuple[Any, ...]:
        return precision_recall_fscore_support(
            labels, predicted, labels=codes, average=average, zero_division=0
        )

    precision, recall, f1, support = averaged(None)
    return {
        "faces": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "per_class": {
            name: {
                "precision": float(precision[code]),
                "recall": float(recall[code]),
                "f1": float(f1[code]),
                "faces": int(support[code]),
            }
            for code, name in enumerate(classes)
        },
        **{
            average: dict(zip(("precision", "recall", "f1"), map(float, averaged(average)[:3]), strict=True))
            for average in ("macro", "weighted")
        },
        "confusion": confusion_matrix(labels, predicted, labels=codes).tolist(),
    }
