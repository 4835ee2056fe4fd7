"""The structure of a network: its stages, and the layers at which it can be explained."""
