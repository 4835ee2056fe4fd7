"""Statistics: intervals, contrasts, Shapley values, CKA."""
