"""The facial action units that make up each emotion."""

# The prototypes of P. Ekman and W. V. Friesen, 'EMFACS-7: Emotional Facial Action Coding System' (1983), in
# the action units of their 'Facial Action Coding System' (1978). A smile may part the lips (25). All units
# are bilateral: contempt, whose prototype (14) is one-sided, is not here.
EMFACS: dict[str, dict[int, tuple[float, float]]] = {
    "angry": {4: (0.7, 1.0), 5: (0.4, 0.8), 7: (0.6, 1.0), 23: (0.7, 1.0)},
    "disgust": {9: (0.7, 1.0), 10: (0.6, 1.0), 15: (0.4, 0.8), 16: (0.4, 0.9)},
    "fear": {
        1: (0.7, 1.0),
        2: (0.4, 0.7),
        4: (0.5, 0.8),
        5: (0.7, 1.0),
        7: (0.3, 0.6),
        20: (0.7, 1.0),
        26: (0.3, 0.6),
    },
    "happy": {6: (0.5, 1.0), 12: (0.6, 1.0), 25: (0.0, 0.8)},
    "sad": {1: (0.7, 1.0), 4: (0.4, 0.7), 15: (0.7, 1.0)},
    "surprise": {1: (0.7, 1.0), 2: (0.7, 1.0), 5: (0.6, 1.0), 26: (0.7, 1.0)},
    "neutral": {},
}
"""Emotion -> action unit -> lowest and highest intensity (1 is the strongest) that a synthetic face shows."""
