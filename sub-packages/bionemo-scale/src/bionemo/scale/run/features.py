# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-features``: vectors of genes or drugs for ``--perturbation-features``."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence

from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        FeaturesSettings,
        prog="bionemo-scale-features",
        description="Make vectors that describe genes or drugs, to predict perturbations that were never trained.",
        epilog="Several kinds together have the same weight. Give the file to bionemo-scale-train, and to "
        "bionemo-scale-infer for perturbations that were not trained.",
        ways=(
            "--from-store STORE --out FILE.parquet [OPTIONS]",
            "--gene-sets FILE.gmt --out FILE.parquet [OPTIONS]",
            "--network EDGES.tsv --out FILE.parquet [OPTIONS]",
            "--embedding FILE --out FILE.parquet [OPTIONS]",
            "--smiles DRUGS.csv --out FILE.parquet [OPTIONS]",
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_features, argv)


def _features(argv: Sequence[str] | None) -> None:
    settings = make_settings(FeaturesSettings, parser().parse_args(argv))
    # Late, so that --help answers at once.
    from bionemo.scale.data.features.build import make_features

    done = make_features(settings)
    print("\n".join(f"note: {line}" for line in done.notes))
    sizes = ", ".join(f"{count} of {kind}" for kind, count in done.kinds.items())
    print(f"wrote {done.out}: {done.num_names} names, {sum(done.kinds.values())} numbers each ({sizes})")


if __name__ == "__main__":
    sys.exit(main())
