"""Attention-guided training: the map of a face's label is told where to lie, beside the cross-entropy."""

from fertool.train.guidance.forms import FORMS
from fertool.train.guidance.guide import Guide, guide_figures
from fertool.train.guidance.maps import GUIDE_EXPLAINERS, KINDS, check_guidance, default_guide_explainer
from fertool.train.guidance.planes import GuidePlanes, load_guide_planes

__all__ = [
    "FORMS",
    "GUIDE_EXPLAINERS",
    "KINDS",
    "Guide",
    "GuidePlanes",
    "check_guidance",
    "default_guide_explainer",
    "guide_figures",
    "load_guide_planes",
]
