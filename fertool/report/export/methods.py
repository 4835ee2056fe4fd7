"""A paragraph on methods, for exactly what was run."""

from collections.abc import Sequence

import fertool
from fertool.report.conditions import FROM_SCRATCH, Condition, adopted_note, tuned_note
from fertool.report.dataset_title import dataset_title
from fertool.report.evidence import Evidence
from fertool.report.words import listed, seeds

SUITE_MEASURES = {
    "classification": "accuracy, macro F1 and calibration",
    "attention": "the share of each heatmap on six regions of the face, and its lift over the region's area",
    "faithfulness": "faithfulness (deletion, insertion and ROAD) beside five null maps",
    "causal": "the exact Shapley values of the six regions over all 64 coalitions of covered and uncovered regions",
    "causal-agreement": "the correlation of shares with the Shapley values of a face's regions, area partialled out",
    "robustness": "the error under eleven corruptions of five strengths",
    "robustness-attention": "shares of the heatmaps of corrupted faces",
    "sanity": "the rank correlation of maps as layers are randomised from the logits down",
    "representation": "linear probes of each stage before and after training, and linear CKA",
    "truth": "how well maps find evidence that was planted",
}


def methods_paragraphs(evidence: Evidence) -> list[str]:
    """Data, training, measures, statistics: a paragraph each, in the past tense of a paper."""
    return [
        _data(evidence),
        _training(evidence.conditions),
        _measures(evidence),
        _statistics(evidence),
    ]


def _data(evidence: Evidence) -> str:
    dataset = evidence.dataset
    counts = listed([f"{split['count']:,} faces in {name}" for name, split in dataset["splits"].items()])
    shape = " by ".join(map(str, dataset["image_shape"][:2]))
    text = (
        f"Data: {dataset_title(dataset)}, {shape} pixels, {len(dataset['classes'])} classes "
        f"({', '.join(dataset['classes'])}); {counts}. "
    )
    twins = dataset.get("twins") or {}
    if twins.get("test_in_train"):
        count = twins["test_in_train"]
        text += f"{count:,} test {'face has' if count == 1 else 'faces have'} an identical twin in train. "
    near = dataset.get("near_twins") or {}
    if near.get("test_in_train", 0) > twins.get("test_in_train", 0):
        text += f"{near['test_in_train']:,} have at least a near one, a copy with other pixels. "
    found = evidence.landmark_detectors
    if found:
        said = listed([f"{name} ({count:,} faces)" for name, count in found.items()])
        text += (
            f"Landmarks in {evidence.split} were found by {said}; six regions (background, face contour, eyes, "
            "eyebrows, nose, mouth) partition each picture. Faces with a template's landmarks are left out of all "
            "shares."
        )
    return text.strip()


def _training(conditions: Sequence[Condition]) -> str:
    sentences = [*map(_condition_sentence, conditions)]
    if not all(condition.is_adopted for condition in conditions):
        sentences.append("The epoch of each trained run was chosen by its accuracy on val.")
    return f"Training: {' '.join(sentences)} Nothing was chosen on the scored split."


def _condition_sentence(condition: Condition) -> str:
    config = condition.config
    if condition.is_adopted:
        return adopted_note(condition.name)
    source = (
        "from scratch" if condition.pretraining == FROM_SCRATCH else f"pretrained on {condition.pretraining}"
    )
    fraction = (
        "" if config["train_fraction"] == 1 else f" on {config['train_fraction']:.0%} of the training faces"
    )
    guided = "" if condition.guidance == "none" else f", attention guided ({condition.guidance})"
    tuned = f" {tuned_note(condition.name)}" if condition.is_tuned_with_its_head else ""
    return (
        f"{condition.name}: {condition.model} {source}{fraction}, input {condition.record['image_size']} pixels, "
        f"{config['epochs']} epochs, {config['optimizer']}, learning rate {config['lr']:g} ({config['schedule']}), "
        f"batch {config['batch_size']}, weight decay {config['weight_decay']:g}, label smoothing "
        f"{config['label_smoothing']:g}{guided}; {seeds(condition.seeds)}.{tuned}"
    )


def _measures(evidence: Evidence) -> str:
    suites = list(dict.fromkeys(found.suite.name for found in evidence.gathered))
    views = [view.name for view in evidence.views if not view.is_null]
    text = f"Measured on {evidence.split}: {'; '.join(SUITE_MEASURES.get(name, name) for name in suites)}."
    return f"{text} Heatmaps: {'; '.join(views)}." if views else text


def _statistics(evidence: Evidence) -> str:
    several = any(condition.seeds > 1 for condition in evidence.conditions)
    over = "images (identical twins resampled together) and seeds" if several else "images (twins together)"
    text = f"Statistics: intervals are 95%, over {over}, by BCa bootstrap of 2,000 resamples"
    if several:
        text += ", joined with a t interval over seeds by MOVER"
    text += "; differences are paired by image."
    if len(evidence.conditions) > 1 and evidence.views:
        text += (
            " Differences of shares between conditions were tested by sign-flip permutation (20,000), p-values "
            "corrected by Holm's method."
        )
    return f"{text} All figures were made by fertool {fertool.__version__}."
