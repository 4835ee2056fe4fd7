"""Works to cite for what was run, as BibTeX."""

from collections.abc import Iterable
from dataclasses import dataclass

from fertool.report.conditions import Condition
from fertool.report.evidence import Evidence


@dataclass(frozen=True)
class Work:
    """A work: its key, its kind of entry, and its fields."""

    key: str
    kind: str
    fields: dict[str, str]

    @property
    def bibtex(self) -> str:
        """The entry of a .bib file."""
        lines = [f"  {name} = {{{value}}}," for name, value in self.fields.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, "}"])

    @property
    def short(self) -> str:
        """One line for a list of works."""
        author = self.fields["author"]
        names = [name.split(",")[0] for name in author.split(" and ")]
        called = (
            names[0]
            if len(names) == 1
            else f"{names[0]} and {names[1]}"
            if len(names) == 2
            else f"{names[0]} et al."
        )
        where = (
            self.fields.get("booktitle") or self.fields.get("journal") or self.fields.get("howpublished", "")
        )
        return f"{called} ({self.fields['year']}): {self.fields['title']}. {where}".replace("{", "").replace(
            "}", ""
        )


def _conference(key: str, author: str, title: str, booktitle: str, year: int) -> Work:
    fields = {"author": author, "title": title, "booktitle": booktitle, "year": str(year)}
    return Work(key, "inproceedings", fields)


def _article(key: str, author: str, title: str, journal: str, year: int) -> Work:
    return Work(key, "article", {"author": author, "title": title, "journal": journal, "year": str(year)})


_ALL = [
    _conference(
        "goodfellow2013challenges",
        "Goodfellow, Ian J. and Erhan, Dumitru and Carrier, Pierre Luc and Courville, Aaron and others",
        "Challenges in Representation Learning: A Report on Three Machine Learning Contests",
        "International Conference on Neural Information Processing",
        2013,
    ),
    _conference(
        "barsoum2016training",
        "Barsoum, Emad and Zhang, Cha and Canton Ferrer, Cristian and Zhang, Zhengyou",
        "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution",
        "ACM International Conference on Multimodal Interaction",
        2016,
    ),
    _conference(
        "selvaraju2017gradcam",
        "Selvaraju, Ramprasaath R. and Cogswell, Michael and Das, Abhishek and Vedantam, Ramakrishna and Parikh, Devi "
        "and Batra, Dhruv",
        "{Grad-CAM}: Visual Explanations from Deep Networks via Gradient-Based Localization",
        "IEEE International Conference on Computer Vision",
        2017,
    ),
    _conference(
        "abnar2020quantifying",
        "Abnar, Samira and Zuidema, Willem",
        "Quantifying Attention Flow in Transformers",
        "Annual Meeting of the Association for Computational Linguistics",
        2020,
    ),
    _conference(
        "zeiler2014visualizing",
        "Zeiler, Matthew D. and Fergus, Rob",
        "Visualizing and Understanding Convolutional Networks",
        "European Conference on Computer Vision",
        2014,
    ),
    _article(
        "draelos2020hirescam",
        "Draelos, Rachel Lea and Carin, Lawrence",
        "Use {HiResCAM} instead of {Grad-CAM} for Faithful Explanations of Convolutional Neural Networks",
        "arXiv:2011.08891",
        2020,
    ),
    _conference(
        "chattopadhay2018gradcampp",
        "Chattopadhay, Aditya and Sarkar, Anirban and Howlader, Prantik and Balasubramanian, Vineeth N.",
        "{Grad-CAM++}: Generalized Gradient-Based Visual Explanations for Deep Convolutional Networks",
        "IEEE Winter Conference on Applications of Computer Vision",
        2018,
    ),
    _conference(
        "springenberg2015striving",
        "Springenberg, Jost Tobias and Dosovitskiy, Alexey and Brox, Thomas and Riedmiller, Martin",
        "Striving for Simplicity: The All Convolutional Net",
        "International Conference on Learning Representations Workshops",
        2015,
    ),
    _conference(
        "chefer2021generic",
        "Chefer, Hila and Gur, Shir and Wolf, Lior",
        "Generic Attention-Model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
        "IEEE International Conference on Computer Vision",
        2021,
    ),
    _conference(
        "simonyan2014deep",
        "Simonyan, Karen and Vedaldi, Andrea and Zisserman, Andrew",
        "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps",
        "International Conference on Learning Representations Workshops",
        2014,
    ),
    _article(
        "smilkov2017smoothgrad",
        "Smilkov, Daniel and Thorat, Nikhil and Kim, Been and Vi{\\'e}gas, Fernanda and Wattenberg, Martin",
        "{SmoothGrad}: Removing Noise by Adding Noise",
        "arXiv:1706.03825",
        2017,
    ),
    _conference(
        "sundararajan2017axiomatic",
        "Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi",
        "Axiomatic Attribution for Deep Networks",
        "International Conference on Machine Learning",
        2017,
    ),
    _conference(
        "petsiuk2018rise",
        "Petsiuk, Vitali and Das, Abir and Saenko, Kate",
        "{RISE}: Randomized Input Sampling for Explanation of Black-box Models",
        "British Machine Vision Conference",
        2018,
    ),
    _conference(
        "rong2022consistent",
        "Rong, Yao and Leemann, Tobias and Borisov, Vadim and Kasneci, Gjergji and Kasneci, Enkelejda",
        "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
        "International Conference on Machine Learning",
        2022,
    ),
    _conference(
        "adebayo2018sanity",
        "Adebayo, Julius and Gilmer, Justin and Muelly, Michael and Goodfellow, Ian and Hardt, Moritz and Kim, Been",
        "Sanity Checks for Saliency Maps",
        "Advances in Neural Information Processing Systems",
        2018,
    ),
    Work(
        "shapley1953value",
        "incollection",
        {
            "author": "Shapley, Lloyd S.",
            "title": "A Value for n-Person Games",
            "booktitle": "Contributions to the Theory of Games II",
            "year": "1953",
        },
    ),
    _conference(
        "hendrycks2019benchmarking",
        "Hendrycks, Dan and Dietterich, Thomas",
        "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
        "International Conference on Learning Representations",
        2019,
    ),
    _conference(
        "kornblith2019similarity",
        "Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey",
        "Similarity of Neural Network Representations Revisited",
        "International Conference on Machine Learning",
        2019,
    ),
    _conference(
        "dosovitskiy2021image",
        "Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and others",
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "International Conference on Learning Representations",
        2021,
    ),
    _conference(
        "he2016deep",
        "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
        "Deep Residual Learning for Image Recognition",
        "IEEE Conference on Computer Vision and Pattern Recognition",
        2016,
    ),
    _conference(
        "tan2019efficientnet",
        "Tan, Mingxing and Le, Quoc",
        "{EfficientNet}: Rethinking Model Scaling for Convolutional Neural Networks",
        "International Conference on Machine Learning",
        2019,
    ),
    _conference(
        "parkhi2015deep",
        "Parkhi, Omkar M. and Vedaldi, Andrea and Zisserman, Andrew",
        "Deep Face Recognition",
        "British Machine Vision Conference",
        2015,
    ),
    _conference(
        "cao2018vggface2",
        "Cao, Qiong and Shen, Li and Xie, Weidi and Parkhi, Omkar M. and Zisserman, Andrew",
        "{VGGFace2}: A Dataset for Recognising Faces across Pose and Age",
        "IEEE International Conference on Automatic Face and Gesture Recognition",
        2018,
    ),
    _article(
        "king2009dlib",
        "King, Davis E.",
        "Dlib-ml: A Machine Learning Toolkit",
        "Journal of Machine Learning Research",
        2009,
    ),
    _article(
        "russakovsky2015imagenet",
        "Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and others",
        "{ImageNet} Large Scale Visual Recognition Challenge",
        "International Journal of Computer Vision",
        2015,
    ),
    Work(
        "wightman2019timm",
        "misc",
        {
            "author": "Wightman, Ross",
            "title": "{PyTorch} Image Models",
            "howpublished": "doi:10.5281/zenodo.4414861",
            "year": "2019",
        },
    ),
    _conference(
        "paszke2019pytorch",
        "Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and others",
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library",
        "Advances in Neural Information Processing Systems",
        2019,
    ),
    Work(
        "lugaresi2019mediapipe",
        "misc",
        {
            "author": "Lugaresi, Camillo and Tang, Jiuqiang and Nash, Hadon and McClanahan, Chris and others",
            "title": "{MediaPipe}: A Framework for Building Perception Pipelines",
            "howpublished": "arXiv:1906.08172",
            "year": "2019",
        },
    ),
    _conference(
        "sagonas2013300",
        "Sagonas, Christos and Tzimiropoulos, Georgios and Zafeiriou, Stefanos and Pantic, Maja",
        "300 Faces in-the-Wild Challenge: The First Facial Landmark Localization Challenge",
        "IEEE International Conference on Computer Vision Workshops",
        2013,
    ),
    _article(
        "efron1987better",
        "Efron, Bradley",
        "Better Bootstrap Confidence Intervals",
        "Journal of the American Statistical Association",
        1987,
    ),
    _article(
        "zou2008construction",
        "Zou, Guang Yong and Donner, Allan",
        "Construction of Confidence Limits about Effect Measures: A General Approach",
        "Statistics in Medicine",
        2008,
    ),
    _article(
        "holm1979simple",
        "Holm, Sture",
        "A Simple Sequentially Rejective Multiple Test Procedure",
        "Scandinavian Journal of Statistics",
        1979,
    ),
    _conference(
        "kingma2015adam",
        "Kingma, Diederik P. and Ba, Jimmy",
        "Adam: A Method for Stochastic Optimization",
        "International Conference on Learning Representations",
        2015,
    ),
    Work(
        "ekman1983emfacs",
        "techreport",
        {
            "author": "Ekman, Paul and Friesen, Wallace V.",
            "title": "{EMFACS-7}: Emotional Facial Action Coding System",
            "institution": "University of California at San Francisco",
            "year": "1983",
        },
    ),
]
WORKS = {work.key: work for work in _ALL}
EXPLAINER_WORKS = {
    "gradcam": ("selvaraju2017gradcam",),
    "gradcam-size": ("selvaraju2017gradcam",),
    "hirescam": ("draelos2020hirescam",),
    "gradcam-abs": ("selvaraju2017gradcam", "draelos2020hirescam"),
    "gradcam++": ("chattopadhay2018gradcampp",),
    "guided-backprop": ("springenberg2015striving",),
    "guided-gradcam": ("selvaraju2017gradcam", "springenberg2015striving"),
    "rollout": ("abnar2020quantifying",),
    "attention": ("dosovitskiy2021image",),
    "all-blocks": ("dosovitskiy2021image",),
    "attention-gradcam": ("chefer2021generic",),
    "input-gradient": ("simonyan2014deep",),
    "smoothgrad": ("smilkov2017smoothgrad",),
    "integrated-gradients": ("sundararajan2017axiomatic",),
    "occlusion": ("zeiler2014visualizing",),
    "rise": ("petsiuk2018rise",),
}
SUITE_WORKS = {
    "attention": ("efron1987better", "zou2008construction", "holm1979simple", "ekman1983emfacs"),
    "faithfulness": ("petsiuk2018rise", "rong2022consistent"),
    "causal": ("shapley1953value",),
    "robustness": ("hendrycks2019benchmarking",),
    "sanity": ("adebayo2018sanity",),
    "representation": ("kornblith2019similarity",),
}
MODEL_WORKS = {
    "vggface2": ("cao2018vggface2", "he2016deep"),
    "vggface": ("parkhi2015deep",),
    "dlibface": ("king2009dlib", "he2016deep"),
    "resnet": ("he2016deep",),
    "vit": ("dosovitskiy2021image",),
    "efficientnet": ("tan2019efficientnet",),
}
OWN_MODELS = ("cnn", "resnet48", "dlibface", "vggface", "vggface2", "multiscale:cnn", "facevit")


def works_of(evidence: Evidence) -> list[Work]:
    """The works to cite for exactly what was run: data, landmarks, models, explainers, suites, statistics."""
    keys = [*_data_keys(evidence), "paszke2019pytorch"]
    for condition in evidence.conditions:
        keys += _condition_keys(condition)
    for found in evidence.gathered:
        keys += SUITE_WORKS.get(found.suite.name, ())
        if found.suite.explains:
            keys += EXPLAINER_WORKS.get(found.settings.request.explainer.name, ())
    return [WORKS[key] for key in dict.fromkeys(keys)]


def _data_keys(evidence: Evidence) -> Iterable[str]:
    if evidence.dataset["name"] == "FER2013":
        yield "goodfellow2013challenges"
    if evidence.dataset.get("ferplus"):
        yield "barsoum2016training"
    found = evidence.landmark_detectors
    if "mediapipe" in found:
        yield "lugaresi2019mediapipe"
    if "dlib" in found:
        yield "king2009dlib"
    if {"mediapipe", "dlib"} & set(found):
        yield "sagonas2013300"


def _condition_keys(condition: Condition) -> Iterable[str]:
    for part, keys in MODEL_WORKS.items():
        if part in condition.model:
            yield from keys
            break
    if condition.model not in OWN_MODELS and ":" not in condition.model:
        yield "wightman2019timm"
    if condition.pretraining == "ImageNet":
        yield "russakovsky2015imagenet"
    if condition.config.get("optimizer") == "adam":
        yield "kingma2015adam"


def as_bibtex(works: Iterable[Work]) -> str:
    """A .bib file."""
    return "\n\n".join(work.bibtex for work in works) + "\n"
