"""Signs that a prediction should not be trusted."""

from tools.ink import Findings

SURE = 0.6  # a prediction with a lower probability is not sure


def doubts(findings: Findings | None, probability: float) -> list[str]:
    """Return a sentence for each sign that the answer may be wrong, as `find_ink` saw the picture.

    Args:
        findings: of the picture; None for an image that was prepared elsewhere.
        probability: of the most probable class.
    """
    sentences = []
    if findings:
        contrast, sides, pieces, tall, height, width, pixels = findings
        if sides > 1:
            sentences.append(f"ink touches {sides} sides of the picture; the digit may be cut off")
        if tall > 1 or 2 * width > 3 * height:
            sentences.append("there may be several digits; one is expected")
        if pieces > 6:
            sentences.append(f"the ink is in {pieces} pieces; this may be noise")
        if 4 * pixels > 3 * height * width and 2 * width > height:
            sentences.append("nearly all is ink; this may be no digit")
        if contrast < 26:
            sentences.append("there is hardly any contrast")
    if probability < SURE:
        sentences.append(f"not sure: the most probable class has {100 * probability:.1f} %")
    return sentences
