"""Recombination by its definition, pixel by pixel, and class counts by counting."""

from trainers.data.label_spaces import CITYSCAPES, CITYSCAPES_LABEL_IDS, CLASS_NAMES, IGNORE_LABEL


def recombined(base, pastes, order, *, replace):
    """Walk through the pixels; at each the candidates are the base and every donor that shows its class there.

    ``base`` and donors are (labels, instances) of nested lists; ``pastes`` are (train id, donor). Returns the labels
    and, for each pixel, what stands there: ("base", its instance) or (number of the paste, the donor's instance).
    """
    labels, owners = [], []
    for y, row in enumerate(base[0]):
        labels.append([])
        owners.append([])
        for x, base_label in enumerate(row):
            train_id = CITYSCAPES[base_label]
            best, owner, label = rank(train_id, order, replace), ("base", base[1][y][x]), base_label
            if train_id != IGNORE_LABEL:
                for number, (pasted, donor) in enumerate(pastes):
                    shows = donor[0][y][x] == CITYSCAPES_LABEL_IDS[pasted]
                    if shows and order.index(pasted) >= best:
                        best, owner, label = order.index(pasted), (number, donor[1][y][x]), donor[0][y][x]
            labels[-1].append(label)
            owners[-1].append(owner)
    return labels, owners


def rank(train_id, order, replace):
    return -1 if replace or train_id == IGNORE_LABEL else order.index(train_id)


def count(label_maps):
    """Pixels of each class by name, one at a time."""
    pixels = dict.fromkeys(CLASS_NAMES, 0)
    for labels in label_maps:
        for row in labels:
            for label in row:
                if CITYSCAPES[label] != IGNORE_LABEL:
                    pixels[CLASS_NAMES[CITYSCAPES[label]]] += 1
    return pixels


def law_shares(pixels, law):
    """``pixels`` by name → wanted shares by name."""
    power = {"natural": 1.0, "inverse_square_root": 0.5, "uniform": 0.0}[law]
    weights = {name: one**power for name, one in pixels.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def distance(pixels, wanted):
    """The share that would have to move to another class."""
    total = sum(pixels.values())
    return sum(max(0.0, pixels[name] / total - share) for name, share in wanted.items())
