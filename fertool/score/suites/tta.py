"""Test-time augmentation: a face is classified by the mean of the probabilities over several views of it."""

import numpy as np
import torch

from fertool.models.predict import GPU_BATCH_SIZE, face_batches
from fertool.runtime.progress import progress_bar
from fertool.score.evaluated_run import EvaluatedRun
from fertool.score.perturbations.views import VIEWS


def tta_logits(evaluated: EvaluatedRun, name: str) -> np.ndarray:
    """Logs of the probabilities' mean over the views, float32 (N, C), kept as a run's other predictions are.

    `flip` are the face and its mirror image; `tencrop` five crops, of the corners and the middle, and theirs.
    """
    whole = evaluated.whole
    return evaluated.sampled(whole.stored_logits(lambda: _predict(whole, name), tta=name))


@torch.inference_mode()
def _predict(evaluated: EvaluatedRun, name: str) -> np.ndarray:
    logits = []
    with progress_bar(f"{evaluated.run.name}: {name}", len(evaluated.faces), "faces") as bar:
        size = evaluated.compute.batch_size(GPU_BATCH_SIZE)
        for pixels, boxes in face_batches(evaluated.faces, evaluated.boxes, size):
            chances = []
            for view, view_boxes in VIEWS[name](pixels, boxes):
                with evaluated.model.looking_at(view_boxes), evaluated.compute.autocast():
                    chances.append(evaluated.model(view.to(evaluated.compute.device)).float().softmax(dim=1))
            logits.append(torch.stack(chances).mean(dim=0).clamp(min=1e-30).log().cpu().numpy())
            bar.update(len(pixels))
    return np.concatenate(logits)
