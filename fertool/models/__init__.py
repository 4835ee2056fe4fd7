"""Names of models -> a FaceClassifier: preprocessing, backbone, head, and where to explain it."""

from fertool.models.classifier import FaceClassifier, InputSpec
from fertool.models.predict import predict_logits
from fertool.models.registry import build_model
from fertool.models.weights.checkpoint import load_model, load_run_model, save_model

__all__ = [
    "FaceClassifier",
    "InputSpec",
    "build_model",
    "load_model",
    "load_run_model",
    "predict_logits",
    "save_model",
]
