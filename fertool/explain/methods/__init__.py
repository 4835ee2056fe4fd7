"""The explainers themselves, a family a module; each registers in `fertool.explain.registry`."""
