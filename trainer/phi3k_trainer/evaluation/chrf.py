"""chrF, the character n-gram F-score.

Maja Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015: the F-score of the precision and
recall of character n-grams, averaged over n = 1 to 6, recall weighing beta = 2 times as much, white space left out.
As in sacreBLEU, orders for which neither text is long enough do not count.
"""

from collections import Counter
from statistics import fmean

MAX_ORDER = 6
BETA = 2.0


def chrf(answer: str, target: str) -> float:
    """How alike two texts are, from 0 to 1; two empty texts are alike."""
    answer, target = "".join(answer.split()), "".join(target.split())
    if answer == target:
        return 1.0
    precisions: list[float] = []
    recalls: list[float] = []
    for order in range(1, MAX_ORDER + 1):
        found, expected = _ngrams(answer, order), _ngrams(target, order)
        if not found or not expected:
            continue
        common = (found & expected).total()
        precisions.append(common / found.total())
        recalls.append(common / expected.total())
    if not precisions:
        return 0.0
    precision, recall = fmean(precisions), fmean(recalls)
    weighted = BETA**2 * precision + recall
    return (1 + BETA**2) * precision * recall / weighted if weighted else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))
