"""Attention-guided training: a loss on the map of a face's label, beside the cross-entropy."""

from fertool.train.guidance.forms import FORMS
from fertool.train.guidance.guide import Guide, guide_figures
from fertool.train.guidance.maps import GUIDE_EXPLAINERS, KINDS, check_guidance, default_guide_explainer
from fertool.train.guidance.masks import GuideMasks, load_guide_masks

__all__ = [
    "FORMS",
    "GUIDE_EXPLAINERS",
    "KINDS",
    "Guide",
    "GuideMasks",
    "check_guidance",
    "default_guide_explainer",
    "guide_figures",
    "load_guide_masks",
]
