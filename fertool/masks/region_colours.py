"""The colour of each region, in every picture."""

from fertool.masks.regions import REGIONS

# Okabe and Ito's palette, told apart by colour-blind readers and in print
REGION_COLOURS = dict(
    zip(REGIONS, ("#999999", "#009E73", "#56B4E9", "#E69F00", "#F0E442", "#D55E00"), strict=True)
)
