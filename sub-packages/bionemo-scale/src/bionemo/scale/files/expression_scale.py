# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Decides, for every reader, whether values are counts or log1p, and of which library size.

docs/data-format.md has the table of what is seen, what is concluded and what the user is asked.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bionemo.scale.files.scale_evidence import SAME_SUM, UNDO, ScaleEvidence, Trace
from bionemo.scale.types import InputError, ValueKind


LOG1P_LIMIT = 15.0
"""No cell's counts, scaled to anything sensible, pass exp(15) = 3.3 million in one gene."""
MOST_COUNTS = 1 << 32
_MIXED_CELLS = 0.05
_CLEARER = 10.0
_ROUNDING = 1e-4
_SAME_LIBRARY = 0.1
_LEAST_OF_SUM = 0.5
"""Library sizes may leave out some genes, such as mitochondrial ones, that the file has."""
_MANY_ENTRIES = 2000
"""Counts of so many entries of a sample of cells are not all 1."""
_MANY_WITHOUT_ONES = 0.5
"""Larger share of cells without a gene of value 1 than counts of droplets have."""

_OTHERS = {
    "linear": ("normalised counts without a logarithm", "x", "apply log1p"),
    "log2": ("log2(1 + x)", "2^x - 1", "multiply by ln 2 = 0.693147"),
    "log10": ("log10(1 + x)", "10^x - 1", "multiply by ln 10 = 2.302585"),
    "log1p twice": ("log1p taken twice", "expm1(expm1(x))", "apply expm1 once"),
    "tenth": ("log1p divided by 10", "expm1(10 x)", "multiply by 10"),
    "sqrt": ("square roots", "x^2", "apply log1p to the squares"),
}


@dataclass(frozen=True, kw_only=True)
class StatedScale:
    """The scale that the user, the file's notes or a model state. The values must agree with it."""

    values: ValueKind | None = None
    """What the user says the values are; ``None`` lets them show it."""
    target_sum: float | None = None
    """Library size that log1p values must have been scaled to, where it is known."""
    is_target_stated: bool = True
    """Whether somebody says of this very file that its values were scaled to ``target_sum``."""
    base: float | None = None
    """Of the logarithm, as the file notes it; ``None`` is the natural one."""
    takes_counts: bool = True
    """Whether the reader takes counts too, or log1p values alone."""
    way_out: str = ""
    """What the user can do about values scaled to another library size; ``{found}`` is that one."""

    @property
    def wanted(self) -> str:
        """The values that the reader accepts, for an error message."""
        return "counts or natural log1p values" if self.takes_counts else "natural log1p values of scaled counts"

    @property
    def instead(self) -> str:
        """The advice of an error message: other values that the user can give."""
        return "give raw counts" if self.takes_counts else "give log1p of scaled counts"


@dataclass(frozen=True, kw_only=True)
class FoundScale:
    """The scale of a file's values, as they show it or as it was stated."""

    kind: ValueKind
    target_sum: float | None
    """Library size behind log1p values, as far as they show it; ``None`` for counts."""


def highest_log1p(target_sum: float) -> float:
    """Return the log1p value of a cell with all its counts in one gene, or the largest float32 that readers accept.

    Args:
        target_sum: Library size that counts are scaled to.
    """
    return min(float(np.log1p(target_sum)), float(np.nextafter(np.float32(LOG1P_LIMIT), np.float32(0))))


def read_base(uns_value: Any) -> float | None:
    """Return the base that ``uns["log1p"]["base"]`` names; ``None`` for the natural logarithm.

    Args:
        uns_value: As anndata reads it: nothing, a number of any type, or text.
    """
    if uns_value is None:
        return None
    try:
        base = float(np.asarray(uns_value).reshape(-1)[0])
    except (ValueError, TypeError, IndexError):
        # Not a number, and so no base that anyone takes for the natural one.
        return float("nan")
    return None if abs(base - np.e) < 1e-6 else base


def find_scale(
    evidence: ScaleEvidence, where: str, stated: StatedScale, *, library_size: np.ndarray | None = None
) -> FoundScale:
    """Conclude what values are.

    Args:
        evidence: Of all values of a file.
        where: The file, for the message.
        stated: What is known otherwise.
        library_size: [cells] library sizes of the file's cells, where it has them.

    Raises:
        InputError: They are neither counts nor natural log1p values, were scaled to another library size than they
            must be, or do not show what they are while nobody says it.
    """
    if evidence.highest == 0:
        raise InputError(f"{where}: expected {stated.wanted}, every value is 0")
    if evidence.is_whole:
        return _counts(evidence, where, stated)
    if stated.values == "counts":
        return FoundScale(kind="counts", target_sum=None)
    check_range(evidence, where, stated)
    if stated.base is not None:
        raise base_refusal(where, stated)
    check_transformation(evidence, where, stated)
    shown = _shown_sum(evidence, where, stated, library_size=library_size)
    if shown is None:
        _ask(evidence, where, stated)
    elif stated.target_sum is not None and abs(shown / stated.target_sum - 1) > SAME_SUM:
        raise InputError(
            f"{where}: expected log1p of counts scaled to {stated.target_sum:g}, found cells whose sum before the "
            f"logarithm is {shown:.6g}{stated.way_out.format(found=f'{shown:.6g}')}"
        )
    return FoundScale(kind="log1p", target_sum=shown)


def check_library_sizes(sizes: np.ndarray, sums: np.ndarray, where: str, *, way_out: str) -> int:
    """Refuse library sizes that are no numbers of counts: logarithms, size factors, thousands.

    Args:
        sizes: [cells] library sizes.
        sums: [cells] sums of the counts that the file has.
        where: File and column, for the message.
        way_out: What the user can do.

    Returns:
        Number of cells whose library size is smaller than the sum of their counts.

    Raises:
        InputError: Library sizes are mostly below half of the sums.
    """
    known = sums > 0
    ratio = float(np.median(sizes[known] / sums[known])) if known.any() else 1.0
    if ratio < _LEAST_OF_SUM:
        raise InputError(
            f"{where}: expected library sizes of at least the sum of a cell's counts, found {ratio:.3g} times that "
            f"sum (median), as logarithms and size factors have; {way_out}"
        )
    return int((sizes < sums * (1 - 1e-6)).sum())


def base_refusal(where: str, stated: StatedScale) -> InputError:
    """Return the refusal of a file that notes another base than e."""
    return InputError(
        f"{where}: expected the natural logarithm, found uns['log1p']['base'] = {stated.base:g}; multiply by its "
        f"natural logarithm, or {stated.instead}"
    )


def check_transformation(evidence: ScaleEvidence, where: str, stated: StatedScale) -> None:
    """Refuse values that are plainly not natural log1p. Values that leave it open pass.

    Raises:
        InputError: Naming what they are.
    """
    name = _transformation(evidence)
    if name in (None, "log1p"):
        return
    what, undone, repair = _OTHERS[name]
    trace = evidence.trace(name)
    shown = (
        f"{undone} gives every cell the sum {trace.common_sum:.6g}"
        if trace.common_sum is not None
        else f"{undone} gives whole multiples of one number in each cell"
    )
    if name == "linear" and stated.takes_counts:
        repair += ", give --values counts"
    raise InputError(
        f"{where}: expected {stated.wanted}, found what looks like {what} ({shown}); {repair}, or {stated.instead}"
    )


def check_range(evidence: ScaleEvidence, where: str, stated: StatedScale) -> None:
    """Refuse fractions that are too large for a logarithm, and files of two kinds of cells.

    Raises:
        InputError: Naming what the values look like.
    """
    # What one count is worth in a normalised cell may be a whole number too.
    if _MIXED_CELLS < evidence.whole_cells < 1 and not evidence.trace("linear").on_lattice:
        raise InputError(
            f"{where}: expected one scale in the whole file, found whole numbers in {evidence.whole_cells:.0%} of the "
            "cells and fractions in the others"
        )
    if evidence.highest < LOG1P_LIMIT:
        return
    name = _transformation(evidence)
    if name not in (None, "linear"):
        check_transformation(evidence, where, stated)
        raise InputError(
            f"{where}: expected log1p values below {LOG1P_LIMIT:g}, found values up to {evidence.highest:g}"
        )
    if name == "linear":
        total = evidence.trace("linear").common_sum
        what = "normalised without a logarithm" + ("" if total is None else f": every cell has the sum {total:.6g}")
    elif stated.takes_counts:
        what = "fractional counts, as of SoupX or an aligner: round them"
    else:
        what = "normalised without a logarithm, or fractional counts"
    raise InputError(
        f"{where}: expected {'integer counts or ' * stated.takes_counts}log1p values below {LOG1P_LIMIT:g}, found "
        f"fractional values up to {evidence.highest:g} ({what}); {stated.instead}"
        + ", or --values counts to use them as counts"
        * stated.takes_counts
    )


def _counts(evidence: ScaleEvidence, where: str, stated: StatedScale) -> FoundScale:
    if evidence.highest >= MOST_COUNTS:
        raise InputError(f"{where}: expected counts below 2**32, found {evidence.highest:g}")
    if stated.values == "log1p" or not stated.takes_counts:
        raise InputError(
            f"{where}: expected natural log1p values of scaled counts, found whole numbers only (up to "
            f"{evidence.highest:g}): raw counts"
        )
    doubt = None if stated.values == "counts" else _doubtful_counts(evidence)
    if doubt is not None:
        raise InputError(
            f"{where}: expected {stated.wanted}, found whole numbers that look like {doubt}; {stated.instead}, or "
            "--values counts to use them as counts"
        )
    return FoundScale(kind="counts", target_sum=None)


def _doubtful_counts(evidence: ScaleEvidence) -> str | None:
    """Return what whole numbers look like that are hardly counts; ``None`` if nothing speaks against counts."""
    trace = evidence.trace("linear")
    if evidence.highest == 1 and trace.total.sum() > _MANY_ENTRIES:
        return "counts that were made 0 or 1 (no value is above 1)"
    # Each alone is true of some counts: of panels that were read deeply, or of cells that were sampled down to one sum
    # and lost genes afterwards.
    if evidence.ones_missing <= _MANY_WITHOUT_ONES:
        return None
    without = f"{evidence.ones_missing:.0%} of the cells have no gene with the value 1"
    if trace.common_sum is not None and trace.spread > 0:
        return f"normalised counts that were rounded (every cell has about the sum {trace.common_sum:.6g}; {without})"
    if evidence.highest < LOG1P_LIMIT:
        return f"rounded logarithms (no value is above {evidence.highest:g}; {without})"
    return None


def _transformation(evidence: ScaleEvidence) -> str | None:
    """Name the transformation of counts that the values show; ``None`` if they show none."""
    traces = {name: evidence.trace(name) for name in UNDO}
    sums = {name: trace.spread for name, trace in traces.items() if trace.common_sum is not None}
    multiples = {name: trace.residual for name, trace in traces.items() if trace.on_lattice}
    if "linear" in multiples:
        # Squares of whole multiples are whole multiples too.
        multiples.pop("sqrt", None)
    return _clearest(sums) or _clearest(multiples)


def _clearest(distance: dict[str, float]) -> str | None:
    """The name of the smallest distance; the natural logarithm unless another is far closer."""
    if not distance:
        return None
    best = min(distance, key=lambda name: distance[name])
    own = distance.get("log1p")
    if own is not None and own <= max(_ROUNDING, _CLEARER * distance[best]):
        return "log1p"
    return best


def _shown_sum(
    evidence: ScaleEvidence, where: str, stated: StatedScale, *, library_size: np.ndarray | None
) -> float | None:
    """Return the library size that log1p values were scaled to, from their sums or from library sizes of cells.

    Raises:
        InputError: Sums and library sizes do not agree.
    """
    trace = evidence.trace("log1p")
    total = trace.common_sum if trace.common_sum is not None else trace.fullest_sum
    if library_size is None or not trace.on_lattice:
        return total
    # What a count of each cell says that its library size was scaled to.
    target = trace.unit * library_size[evidence.cells]
    middle = float(np.median(target))
    if (np.abs(target / middle - 1) < SAME_SUM).mean() > 0.5:
        return middle
    if total is not None and abs(middle / total - 1) > _SAME_LIBRARY:
        raise InputError(
            f"{where}: expected log1p of counts scaled by the given library sizes, found values scaled by the sums of "
            f"the file's genes (to {total:.6g}; by the library sizes it would be about {middle:.6g}); {stated.instead}"
        )
    return total


def _ask(evidence: ScaleEvidence, where: str, stated: StatedScale) -> None:
    """Refuse values that do not show what they were scaled to, unless the user says what they are.

    Raises:
        InputError: Naming what is in doubt and the option that decides.
    """
    without = evidence.sum_without_some_genes()
    if without is not None:
        raise InputError(
            f"{where}: expected all genes of a cell scaled to one sum, found the sum {without[0]:.6g} before the "
            f"logarithm without {without[1]} genes (normalize_total with exclude_highly_expressed); {stated.instead}"
        )
    if stated.values is None:
        doubt = _doubt(evidence.trace("log1p"), stated)
        if doubt is not None:
            raise InputError(f"{where}: expected {stated.wanted}, found {doubt}, or {_IF_LOG1P}")
    if stated.target_sum is None or not stated.is_target_stated:
        expected = 10_000 if stated.target_sum is None else stated.target_sum
        raise InputError(
            f"{where}: scale unknown: log1p values of some of the genes do not show which library size counts were "
            "scaled to; expected --target-sum, such as --target-sum "
            f"{expected:g}{', or raw counts' * stated.takes_counts}"
        )


_IF_LOG1P = "give --values log1p with --target-sum if they are log1p of scaled counts"


def _doubt(trace: Trace, stated: StatedScale) -> str | None:
    """Return why values may not be log1p of scaled counts; ``None`` if nothing speaks against it."""
    clusters = trace.clusters()
    if clusters:
        shown = ", ".join(f"{total:.6g} in {share:.0%}" for total, share in clusters[:3])
        return (
            f"cells with different sums before the logarithm ({shown} of the cells), as after scaling with "
            f"exclude_highly_expressed or joining files; {stated.instead}"
        )
    if not trace.on_lattice:
        return (
            "fractions with neither one sum in all cells before the logarithm nor whole multiples of one count in "
            "each, "
            "as fractional counts (SoupX) have; "
            + ("round counts, or give --values counts" if stated.takes_counts else stated.instead)
        )
    if (np.abs(trace.unit - np.maximum(np.rint(trace.unit), 1)) < SAME_SUM).mean() > 1 - SAME_SUM:
        return f"log1p of counts that were scaled to no library size; {stated.instead}"
    return None
