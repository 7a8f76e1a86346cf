# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Gives damaged inputs to the commands and holds them to what docs/reliability.md promises.

    python tests/faults/campaign.py [--cases 1000] [--seed 0] [--inputs FOLDER] [--figures FIGURES.json]

A case is a function of its family, its number and the seed, so that what fails can be repeated alone.
"""

import argparse
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from bionemo.scale.megatron import cpu


# Before Megatron is imported.
cpu.install()

import forked  # noqa: E402
from commands import Command, import_all  # noqa: E402
from contents import judge  # noqa: E402
from families import FAMILIES, Case, Family, cases, covered  # noqa: E402
from inputs import make_inputs  # noqa: E402


_STRANGE = ("Traceback", "Warning: ", "Error: ", "Exception", "error: ", "Segmentation")
"""What is in lines on the screen that no user should see, but for the last line of a refusal."""
_WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_LONGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one case."""

    family: str
    number: int
    damage: str
    command: str
    verdict: str
    """refused, equal (to the result without damage), other (the file says something else, and so does the result),
    endless (the HDF5 library does not come back), or fault."""
    why: str = ""


class Campaign:
    """Runs cases in folders of their own.

    Args:
        inputs: What :func:`inputs.make_inputs` has made.
        work: A folder for the cases.
        seed: Of all of them.
    """

    def __init__(self, inputs: Path, work: Path, seed: int):
        self.inputs, self.work, self.seed = inputs, work, seed
        self._expected: dict[str, str] = {}

    def run(self, family: Family, number: int) -> Finding:
        """Run one case."""
        rng = random.Random(f"{self.seed}/{family.name}/{number}")
        case = family.draw(rng)
        expected = None if case.command.out == "*" else self.expected(case)
        folder = self._copy(case.files)
        damage = case.damage(folder)
        verdict, why = self._judge(family, case.command, folder, expected)
        finding = Finding(
            family=family.name,
            number=number,
            damage=damage,
            command=str(case.command),
            verdict=verdict,
            why=why,
        )
        shutil.rmtree(folder.parent)
        return finding

    def expected(self, case: Case) -> str:
        """Return the result of a command on the inputs as they were made."""
        key = str(case.command)
        if key not in self._expected:
            folder = self._copy(case.files)
            done = self._start(case.command, folder)
            if done.code or done.left:
                raise RuntimeError(f"{key}: exit code {done.code}, left {done.left}: {done.lines}")
            self._expected[key] = done.result
            shutil.rmtree(folder.parent)
        return self._expected[key]

    def _copy(self, files: tuple[str, ...]) -> Path:
        """Return a folder in one of its own, so that what is written beside it is seen too."""
        folder = self.work / "case" / "here"
        folder.mkdir(parents=True)
        for name in files:
            source = self.inputs / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
        return folder

    def _start(self, command: Command, folder: Path, cpu_seconds: int = forked.CPU_SECONDS) -> forked.Outcome:
        return forked.run(
            command.main,
            command.words,
            folder=folder,
            look=command.look,
            before=command.before,
            cpu_seconds=cpu_seconds,
        )

    def _judge(self, family: Family, command: Command, folder: Path, expected: str | None) -> tuple[str, str]:
        before = _snapshot(folder.parent)
        done = self._start(command, folder, family.cpu_seconds)
        after = _snapshot(folder.parent)
        if done.left:
            return "fault", f"left {done.left} in the folder of temporary files"
        own = {name for name in before if _is_below(name, command.out)}
        changed = sorted(name for name in before.keys() - own if after.get(name, before[name]) != before[name])
        lost = sorted(before.keys() - after.keys())
        if lost or (changed and command.out != "*"):
            return "fault", f"lost {lost}, changed {changed}"
        new = sorted(name for name in after.keys() - before.keys() if not _is_kept(name, command))
        if done.code == 2:
            why = of_refusal(done.lines) or (f"left {new}" if new or changed else "")
            return ("fault", why) if why else ("refused", done.lines[-1])
        if done.code == -signal.SIGXCPU and "/h5py/" in done.where.partition("\n")[2].partition("\n")[0]:
            return "endless", done.where
        if done.code != 0:
            return "fault", f"exit code {done.code} after {done.seconds:.0f} s: {' | '.join(done.lines[-3:])[-600:]}"
        return self._judge_result(family, command, folder, expected, done, new)

    def _judge_result(
        self,
        family: Family,
        command: Command,
        folder: Path,
        expected: str | None,
        done: forked.Outcome,
        new: list[str],
    ) -> tuple[str, str]:
        strange = [line for line in done.lines if any(word in line for word in _STRANGE)]
        if strange:
            return "fault", f"said {strange[0][:300]}"
        beside = [name for name in new if command.out != "*" and not _is_below(name, command.out)]
        if beside or any(Path(name).name.startswith(".") for name in new):
            return "fault", f"left {beside or new}"
        if expected is not None and done.result == expected:
            return "equal", ""
        if family.may_differ:
            return "other", ""
        return judge(command, folder, self.inputs)


def _snapshot(folder: Path) -> dict[str, tuple]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            *((status.st_size, status.st_mtime_ns) if path.is_file() else ()),
        )
    return found


def _is_below(name: str, out: str) -> bool:
    path = Path("here") / out
    return bool(out) and (Path(name) == path or path in Path(name).parents)


def _is_kept(name: str, command: Command) -> bool:
    return any(_is_below(name, kept) or name == f"here/{command.out}" for kept in command.keeps)


def of_refusal(lines: tuple[str, ...]) -> str:
    """Return what is wrong with what a refusing command said; nothing where it is as promised."""
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return f"expected one line of error, found {' | '.join(lines)[-400:]}"
    strange = [line for line in lines[:-1] if any(word in line for word in _STRANGE)]
    if strange:
        return f"said {strange[0][:300]} before the refusal"
    if not errors[0].isprintable() or len(errors[0]) > _LONGEST:
        return f"a line of {len(errors[0])} characters that is not for a terminal: {errors[0][:200]!r}"
    if "not enough memory" in errors[0]:
        return f"took its memory first: {errors[0][:200]}"
    return ""


def main() -> int:
    """Run the campaign and print its figures; exit code 1 where something is not as promised."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--inputs", type=Path, help="made where it is missing")
    options.add_argument("--figures", type=Path)
    options.add_argument("--case", help="FAMILY/NUMBER, one case alone")
    options.add_argument("--family", action="append", default=[], help="families whose names begin so; repeat")
    options.add_argument("--show", action="store_true", help="print every finding")
    asked = options.parse_args()
    import_all()
    with tempfile.TemporaryDirectory(prefix="campaign-") as work:
        inputs = asked.inputs or Path(work) / "inputs"
        if not inputs.exists():
            inputs.mkdir(parents=True)
            make_inputs(inputs.resolve())
        campaign = Campaign(inputs.resolve(), Path(work), asked.seed)
        start = time.monotonic()
        findings = []
        for family, number in _chosen(asked):
            findings.append(campaign.run(family, number))
            if asked.show or findings[-1].verdict == "fault":
                print(json.dumps(asdict(findings[-1])), flush=True)
    figures = _figures(findings, time.monotonic() - start)
    print(json.dumps(figures, indent=1))
    if asked.figures:
        asked.figures.write_text(
            json.dumps({**figures, "faults": [asdict(each) for each in findings if each.verdict == "fault"]})
        )
    return 1 if any(each.verdict == "fault" for each in findings) else 0


def _chosen(asked: argparse.Namespace) -> list[tuple[Family, int]]:
    if asked.case is None:
        return [
            (family, number)
            for family, number in cases(asked.cases)
            if family.name.startswith(tuple(asked.family) or "")
        ]
    name, _, number = asked.case.rpartition("/")
    return [(next(family for family in FAMILIES if family.name == name), int(number))]


def _figures(findings: list[Finding], seconds: float) -> dict:
    by_family: dict[str, Counter] = {}
    for each in findings:
        by_family.setdefault(each.family, Counter()).update(["tried", each.verdict])
    total = sum(by_family.values(), Counter())
    return {
        "families": {name: dict(count) for name, count in by_family.items()},
        "total": dict(total),
        "commands": covered(),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHOSE)), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
