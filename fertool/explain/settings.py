"""The settings of `explain`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fertool.errors import UserError
from fertool.explain.registry import DEFAULT_EXPLAINER, Request, Wanted, as_request


@dataclass(frozen=True)
class ExplainSettings:
    """The options of `explain`. Raises UserError for names and combinations that cannot be.

    Args:
        explainers: names with options, as `rollout@discard=0.9`, or functions of your own with their `rules`.
        runs: names of runs; empty: every finished run that the explainer can explain.
        split: the split whose faces are explained.
        target: `predicted`, `label`, the name of a class, or `all` classes.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32 or bf16.
        images: photographs whose faces are explained in place of a split's.
        overlay_dir: folder for the photographs' overlays; None: beside each photograph.
        gallery: PNG to draw some faces of the split with their maps in.
    """

    explainers: Sequence[Wanted] = (DEFAULT_EXPLAINER,)
    runs: Sequence[str] = ()
    split: str = "test"
    target: str = "predicted"
    device: str = "auto"
    precision: str = "fp32"
    images: Sequence[Path] = ()
    overlay_dir: Path | None = None
    gallery: Path | None = None

    def __post_init__(self) -> None:
        """Raise UserError for names and combinations that cannot be."""
        _ = self.requests  # reading them checks them
        if self.gallery is not None and self.images:
            raise UserError(f"--gallery {self.gallery}: draws faces of a split; leave it out, or --image")
        if self.gallery is not None and self.gallery.suffix.lower() != ".png":
            raise UserError(f"--gallery {self.gallery}: give a file that ends in .png")
        if self.overlay_dir is not None and not self.images:
            raise UserError(f"--overlay-dir {self.overlay_dir}: is for photographs; give --image FILE too")

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """The explainers with their options."""
        return tuple(as_request(wanted) for wanted in self.explainers)
