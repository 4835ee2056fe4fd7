"""Targets of the benches."""


def missed(measured: str, met: bool) -> bool:
    """Print a line that names the figure and its target; return whether the target was missed."""
    print(f"  {'met   ' if met else 'MISSED'} {measured}", flush=True)
    return not met
