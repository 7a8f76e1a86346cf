# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Labels that look like guides of one gene, of which a split should not train some and hold out others."""

import re
from collections.abc import Collection, Iterable

from bionemo.scale.data.labels.split import Context, ResolvedSplit
from bionemo.scale.files.labels.grammar import Grammar, likely_controls
from bionemo.scale.types import Split


_GUIDE = re.compile(
    r"(?P<gene>.+?)(?:"
    # "STAT1-g2", "STAT1 sg3", "STAT1_sgRNA-1"; a capital G alone may be a part of the gene's name.
    r"[-_. ]+(?:s?g|SG|(?i:(?:sg|g|cr)rna|guide))[-_. ]?\d+"
    # "STAT1g2"; "Arg1" and "Arg2" are genes, and "IFNg10" a dose.
    r"|(?<=[A-Z0-9])s?g\d"
    # The sequence, or where and on which strand it is: "STAT1_GGAGACTTCCTCTACAGGA", "STAT1_+_191014052.23-P1P2".
    r"|[-_. |]+[ACGT]{17,}"
    r"|_[-+]_\d+(?:\.\d+)?(?:[-_].*)?"
    r")"
)
_NUMBERED = re.compile(r"(?P<gene>.+?)[-_. ](?P<number>\d{1,2})")


def guides_of_genes(labels: Iterable[str], genes: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the genes that several labels seem to be guides of, and these.

    "STAT1_1" counts only where STAT1 is a known gene, STAT1_1 is none, and the next number is there too: "NKX2-1" is a
    gene, and "dexamethasone_10" and "IL6_100" are doses.

    Args:
        labels: One agent each.
        genes: Known genes, such as those that were measured.
    """
    labels, genes = list(dict.fromkeys(labels)), frozenset(genes)
    named = set(labels).difference(likely_controls(labels), genes)
    numbered = {label: match for label in named if (match := _NUMBERED.fullmatch(label)) and match["gene"] in genes}
    numbers = {(match["gene"], int(match["number"])) for match in numbered.values()}
    found: dict[str, list[str]] = {}
    for label in filter(named.__contains__, labels):
        if match := _GUIDE.fullmatch(label):
            found.setdefault(match["gene"], []).append(label)
        elif match := numbered.get(label):
            number = int(match["number"])
            if {(match["gene"], number - 1), (match["gene"], number + 1)} & numbers:
                found.setdefault(match["gene"], []).append(label)
    return {gene: tuple(guides) for gene, guides in found.items() if len(guides) > 1}


def note_guides_apart(split: ResolvedSplit, grammar: Grammar, genes: Collection[str]) -> tuple[str, ...]:
    """Say of which genes a split trains one guide and holds out another in the same cell type.

    Combinations are left out: their agents may be trained.

    Args:
        split: The split.
        grammar: How labels are read.
        genes: Known genes.
    """
    parts: dict[Context, dict[str, bool]] = {}
    for condition, part in split.assignments.items():
        agents = [] if part is None else grammar.agents(condition.perturbation)
        if condition.perturbation != split.control and len(agents) == 1:
            parts.setdefault(Context(*condition[:2]), {})[agents[0].name] = part != Split.TRAIN
    genes = frozenset(genes)  # once for all contexts
    apart: dict[str, tuple[str, str]] = {}
    for held_out in parts.values():
        for gene, guides in guides_of_genes(sorted(held_out), genes).items():
            sides = {held_out[guide]: guide for guide in guides}
            if len(sides) == 2:
                apart.setdefault(gene, (sides[False], sides[True]))
    if not apart:
        return ()
    gene, (trained, other) = next(iter(apart.items()))
    return (
        f"of {len(apart)} genes the split seems to train one guide and hold out another, the first is {gene!r} "
        f"(trained {trained!r}, held out {other!r}): their scores are not those of new genes; name the column of "
        "genes with --perturbation-key, or hold out all guides of a gene together; if these are doses, ignore this",
    )
