"""Evidence that a share is too high, which may be looked at after every request.

Everything here is an e-process: a number that starts at 1, and whose mean is at most 1
for as long as nothing is wrong, however it is stopped. So it exceeds 1/alpha with a
chance of at most alpha over all looks together (Ville, Étude critique de la notion de
collectif, 1939). Kept are logarithms, one for each point of a grid of alternatives.

Two samples: E-variables for two proportions of Turner, Ly and Grünwald, "Generic
E-Variables for Exact Sequential k-Sample Tests that allow for Optional Stopping"
(Journal of Statistical Planning and Inference, 2024). A look with n_a and n_b requests
is one block; against shares a > b stands o = (n_a a + n_b b) / (n_a + n_b), and the
evidence is the likelihood ratio. Of x_i, the chance that request i fails, its mean has
the logarithm sum log(1 + (x_i - o)(a - o) / (o (1 - o))) over sample a, and the same
over b, which is at most (a - o) n_a (mean x_a - mean x_b) / (o (1 - o)), because
log(1 + z) <= z and n_a (a - o) = n_b (o - b). So the requests need not be alike, nor
the looks: what raises the share of both samples is no evidence.

One sample: the likelihood ratio of Wald (Sequential Tests of Statistical Hypotheses,
1945) against the limit, which by the same inequality holds for all smaller shares.

Mixtures (Robbins, Statistical Methods Related to the Law of the Iterated Logarithm,
1970) are e-processes again. There are two: over odds ratios, and over the look at which
the fault begins, or a service that was good for an hour would have to be bad for as
long. Half of the second has the fault begin at once, the rest is spread over all
later looks, so that after 100 looks a fault has to show 8 more nats, after 10,000 15.

Assumed is that requests of a look are independent of each other, given their chances.
Where they are not (one caller's request is tried ten times), a request says less: the
logarithm is divided by the dispersion, the variance of counts relative to that of
independent requests (quasi-likelihood; Wedderburn 1974). For requests that come in
groups of m with the same end and a dispersion of m this is exact, and for independent
ones the power 1/m of an e-process is one too (Jensen). The estimate is no theorem:
`reference` says how it is made, and `case` which one is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import e, exp, inf, log, log1p

GRID = (1.5, 2.0, 4.0, 16.0, 256.0, 4096.0)
"""Odds ratios that the evidence speaks for. Between two of them little is lost: the
smallest ones are close because small faults need every request, the largest ones are
there so that 25 failures out of 25 tell at once."""
WEIGHTS = (0.25, 0.35, 0.2, 0.1, 0.05, 0.05)
"""Belief in each; small faults get most, because large ones do without."""
SMALLEST = 1e-6
"""Shares are taken to be so far from 0 and 1 at least."""

Logs = Sequence[float]
Sample = tuple[float, float]
"""How many there were, and how many of them were bad."""


def two_sample(
    logs: Logs,
    a: Sample,
    b: Sample,
    reference: float,
    *,
    look: int,
    dispersion: float = 1.0,
) -> list[float]:
    """Add a look at two samples to the evidence that the share in `a` is above `b`'s.

    `reference` is what the share in `b` may be; like `dispersion` (>= 1) it must not
    depend on the look. It changes how soon a fault is seen, and no chance of a false
    alarm. `look` counts the looks, from 0. Nothing is added when a sample is empty.
    """
    (n_a, k_a), (n_b, k_b) = _counted(a), _counted(b)
    if not n_a or not n_b:
        return list(logs)
    share_b = _inside(reference)
    steps = []
    for ratio in GRID:
        share_a = _raised(share_b, ratio)
        both = (n_a * share_a + n_b * share_b) / (n_a + n_b)
        step = _ratio(n_a, k_a, share_a, both) + _ratio(n_b, k_b, share_b, both)
        steps.append(step / max(1.0, dispersion))
    return _grown(logs, steps, look)


def one_sample(
    logs: Logs,
    n: float,
    k: float,
    limit: float,
    *,
    look: int,
    dispersion: float = 1.0,
    most: float = inf,
    sudden: bool = False,
) -> list[float]:
    """Add a look at `k` bad ones of `n` to the evidence that their share is > `limit`.

    No look adds more than `most`, so that several have to say the same: nothing tells
    here what would have happened to another variant at that time. With `sudden` the
    largest odds ratio is exempt: when nearly all are bad, nobody waits.
    """
    n, k = _counted((n, k))
    if not n or limit >= 1:
        return list(logs)
    limit = _inside(limit)
    steps = []
    for ratio in GRID:
        step = _ratio(n, k, _raised(limit, ratio), limit) / max(1.0, dispersion)
        exempt = sudden and ratio == GRID[-1]
        steps.append(step if exempt else min(step, most))
    return _grown(logs, steps, look)


def evidence(logs: Logs) -> float:
    """Logarithm of the evidence over the whole grid; -inf for none."""
    if not logs:
        return -inf
    largest = max(logs)
    weighted = zip(WEIGHTS, logs, strict=True)
    return largest + log(sum(weight * exp(each - largest) for weight, each in weighted))


def upper_bound(n: float, k: float, chance: float = 0.001) -> float:
    """What a share is at most, after `k` of `n`, but for this chance.

    Chernoff's bound: the share whose relative entropy explains the observation no more
    than `chance` does. Slightly above Clopper and Pearson's, and without tables.
    """
    n, k = _counted((n, k))
    if not n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        # At the observed share itself the likelihood is largest.
        gap = _likelihood(n, k, k / n) - _likelihood(n, k, middle)
        low, high = (low, middle) if gap > -log(chance) else (middle, high)
    return high


def _grown(logs: Logs, steps: Sequence[float], look: int) -> list[float]:
    """Logarithms after one more look, with what begins at that look."""
    begins = log(_begins(look))
    if not logs:
        return [begins + step for step in steps]
    return [_both(x, begins) + y for x, y in zip(logs, steps, strict=True)]


def _begins(look: int) -> float:
    """Chance that the fault begins at a look; over all looks they sum to 1."""
    if look <= 0:
        return 0.5
    # Differences of 1 / log, without losing all digits of late ones.
    return 0.5 * log1p(1 / (look - 1 + e)) / (log(look - 1 + e) * log(look + e))


def _ratio(n: float, k: float, share: float, other: float) -> float:
    """Logarithm of the ratio of two likelihoods of `k` bad ones of `n`."""
    return k * log(share / other) + (n - k) * (log1p(-share) - log1p(-other))


def _likelihood(n: float, k: float, share: float) -> float:
    good = (n - k) * log1p(-share) if share < 1 else (0.0 if k == n else -inf)
    return good + (k * log(share) if k else 0.0)


def _raised(share: float, ratio: float) -> float:
    """The share whose odds are `ratio` times as high."""
    return _inside(ratio * share / (1 + (ratio - 1) * share))


def _inside(share: float) -> float:
    return min(1 - SMALLEST / 4096, max(SMALLEST, share))


def _counted(sample: Sample) -> Sample:
    """What can be: not less than none, and not more bad ones than there are."""
    n = max(0.0, sample[0])
    return n, min(n, max(0.0, sample[1]))


def _both(x: float, y: float) -> float:
    """Logarithm of the sum of two numbers, by their logarithms."""
    return max(x, y) + log1p(exp(-abs(x - y)))
