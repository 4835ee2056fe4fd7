"""How a bench says whether a target is met."""


def missed(what: str, met: bool) -> bool:
    """Print what was measured, with its target; return whether the target was missed."""
    print(f"  {'met   ' if met else 'MISSED'} {what}", flush=True)
    return not met
