# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every module has a test file of its name in the same folder, or an entry that says where it is tested, and why."""

from pathlib import Path


TESTS = Path(__file__).parent
PACKAGE = TESTS.parents[2]
REPOSITORY = PACKAGE.parents[1]
SOURCE = PACKAGE / "src" / "bionemo" / "scale"

ELSEWHERE = {
    "counts/counted.py": ("counts/test_draw.py", "counts are read back as they are drawn"),
    "crossval/fold_run.py": ("crossval/test_crossval.py", "a fold is tested by the cross-validation that runs it"),
    "crossval/job.py": ("tests/end_to_end/test_crossval.py", "it needs commands to run"),
    "crossval/settings.py": ("crossval/test_crossval.py", "a settings class is tested by its command"),
    "crossval/stopped.py": ("tests/end_to_end/test_crossval.py", "it needs a fold that fails"),
    "data/features/build.py": ("data/features/test_features.py", "each kind is tested through the file it ends in"),
    "data/features/drugs.py": ("data/features/test_features.py", "each kind is tested through the file it ends in"),
    "data/features/embedding.py": ("data/features/test_features.py", "each kind is tested through its vectors"),
    "data/features/from_store.py": ("data/features/test_features.py", "each kind is tested through its vectors"),
    "data/features/gene_knowledge.py": ("data/features/test_features.py", "each kind is tested through its vectors"),
    "data/features/kind.py": ("data/features/test_features.py", "it is the interface of the kinds"),
    "data/features/named_table.py": ("data/features/test_features.py", "tables are tested by the kinds they make"),
    "data/features/settings.py": ("data/features/test_features.py", "a settings class is tested by its command"),
    "data/features/targets.py": ("data/features/test_features.py", "each kind is tested through its vectors"),
    "data/folds/hold_out.py": ("data/folds/test_split_file.py", "a rule is tested by the split file it makes"),
    "data/folds/split_settings.py": ("data/folds/test_split_file.py", "a settings class is tested by its command"),
    "data/labels/shared_genes.py": ("data/prepare/test_preprocess.py", "it needs several files to join"),
    "data/prepare/conversion/convert.py": ("data/prepare/test_preprocess.py", "its steps are tested by the store"),
    "data/prepare/conversion/scanned.py": ("data/prepare/test_preprocess.py", "it needs files that were scanned"),
    "data/prepare/settings.py": ("data/prepare/test_preprocess.py", "a settings class is tested by its command"),
    "data/store/manifest.py": ("data/store/test_reader.py", "a manifest is read with its store"),
    "data/store/shards.py": ("data/store/test_reader.py", "shards are read with their store"),
    "estimate/labels.py": ("estimate/test_mixed_model.py", "label matrices are tested by the model they make"),
    "estimate/storage.py": ("estimate/test_mixed_model.py", "what was saved is compared with what is loaded"),
    "eval/cell_eval/newest_worker.py": ("eval/cell_eval/test_newest.py", "it runs in another environment"),
    "eval/cell_eval/challenge_worker.py": ("eval/cell_eval/test_challenge.py", "it runs in another interpreter"),
    "eval/cell_eval/running.py": ("run/test_evaluate.py", "it starts what the command scores with"),
    "eval/cells/population_file.py": ("eval/cells/test_read_population.py", "it is what reading returns"),
    "eval/metrics/document.py": ("eval/metrics/test_catalogue.py", "it prints the catalogue"),
    "eval/output/summarise.py": ("eval/output/test_results.py", "it needs a table of results"),
    "eval/output/summary.py": ("eval/output/test_results.py", "it is what summarising returns"),
    "eval/page/cautions.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/page/gene_changes.py": ("notebook/test_plot.py", "changes are tested by the figures of them"),
    "eval/page/payload.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/page/provenance.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/page/sources.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/page/tables.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/page/training.py": ("run/test_report.py", "the page is tested by the command that writes it"),
    "eval/page/verdict.py": ("eval/page/test_page.py", "parts of the page are tested on one run"),
    "eval/scores/prediction_scores.py": ("eval/scores/test_scoring.py", "it needs contexts to score"),
    "eval/scores/task.py": ("eval/scores/test_scoring.py", "it is what scoring takes"),
    "export/card.py": ("tests/end_to_end/test_export.py", "it needs a trained run"),
    "export/scores.py": ("tests/end_to_end/test_export.py", "they need a trained run"),
    "export/training.py": ("tests/end_to_end/test_export.py", "it needs a trained run"),
    "export/write.py": ("tests/end_to_end/test_export.py", "it needs a trained run"),
    "files/anndata/anndata_node.py": ("files/anndata/test_checked_anndata.py", "damage is tested on whole files"),
    "files/anndata/csc_rows.py": ("files/anndata/test_anndata_file.py", "rows are compared with those of CSR files"),
    "files/anndata/matrix_on_disk.py": ("files/anndata/test_checked_anndata.py", "damage is tested on whole files"),
    "files/anndata/remote_zarr2.py": ("files/anndata/test_remote.py", "a store is tested by what is read of it"),
    "files/anndata/remote_zarr3.py": ("files/anndata/test_remote.py", "the same, where zarr 3 is installed"),
    "files/anndata/whole_arrays.py": ("files/anndata/test_remote.py", "pieces are missing from real stores"),
    "files/gene_sets.py": ("data/features/test_features.py", "sets are tested by the vectors made of them"),
    "files/network_weight.py": ("infer/test_run_estimate.py", "the weight is tested where it is used"),
    "files/provenance.py": ("data/prepare/test_inspection.py", "hashes are tested by what they protect"),
    "files/scale_evidence.py": ("files/test_expression_scale.py", "evidence is tested by the judgement on it"),
    "infer/certainty/conditions.py": (
        "infer/certainty/test_certainty.py",
        "parts are tested by what is said in the end",
    ),
    "infer/certainty/intervals.py": (
        "infer/certainty/test_certainty.py",
        "parts are tested by what is said in the end",
    ),
    "infer/certainty/pairs.py": ("infer/certainty/test_certainty.py", "parts are tested by what is said in the end"),
    "infer/certainty/training_facts.py": ("infer/certainty/test_certainty.py", "they need a run"),
    "infer/counts/predicted.py": ("tests/end_to_end/test_inference.py", "it needs a trained run"),
    "infer/job.py": ("tests/end_to_end/test_inference.py", "it needs a trained run"),
    "infer/output/cells_file.py": ("tests/end_to_end/test_inference.py", "it needs a trained run"),
    "infer/output/measured_cells.py": ("run/test_infer.py", "it decides which files the command writes"),
    "infer/output/origin.py": ("tests/end_to_end/test_inference.py", "it needs a trained run"),
    "infer/output/pseudobulk.py": ("tests/end_to_end/test_inference.py", "it is compared with whole cells"),
    "infer/output/request.py": ("tests/end_to_end/test_inference.py", "it is what writing takes"),
    "infer/output/write.py": ("tests/end_to_end/test_inference.py", "it needs several processes and kills"),
    "infer/planning.py": ("tests/end_to_end/test_inference.py", "it needs a trained run and its store"),
    "infer/predict.py": ("infer/plans/test_controls_plan.py", "predictions of one plan are compared"),
    "infer/trained_run.py": ("tests/end_to_end/test_api.py", "it needs a trained run"),
    "infer/training_data.py": ("run/test_evaluate.py", "it opens what the command scores with"),
    "infer/trained_model.py": ("tests/end_to_end/test_inference.py", "it needs a trained run"),
    "model/size/count.py": ("model/size/test_sizes.py", "weights are counted for each size"),
    "notebook/drawn.py": ("notebook/test_plot.py", "what is chosen is tested by the figures of it"),
    "options/commands.py": ("crossval/test_crossval.py", "a command of several others' options is tested as one"),
    "options/config_file.py": ("run/test_train.py", "a file of settings is tested by the commands that write it"),
    "process/interrupt.py": ("process/test_command.py", "it needs a process to interrupt"),
    "process/parent.py": ("megatron/test_writers.py", "it needs a process that is started and killed"),
    "rank/certainty.py": ("rank/test_rank.py", "parts of a ranking are tested by the tables"),
    "rank/choose.py": ("rank/test_rank.py", "parts of a ranking are tested by the tables"),
    "rank/orders.py": ("rank/test_rank.py", "parts of a ranking are tested by the tables"),
    "rank/screen.py": ("rank/test_rank.py", "parts of a ranking are tested by the tables"),
    "rank/settings.py": ("rank/test_rank.py", "a settings class is tested by its command"),
    "rank/signature.py": ("rank/test_rank.py", "parts of a ranking are tested by the tables"),
    "recipes/arrays.py": ("tests/recipes/test_arrays.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/composed.py": ("tests/recipes/test_composed.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/defaults.py": ("tests/recipes/test_recipes.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/executors.py": ("tests/recipes/test_launch.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/groups.py": ("tests/recipes/test_recipes.py", "recipes import NeMo-Run, which takes seconds"),
    "train/setup/parts.py": ("tests/recipes/test_recipes.py", "parts are tested by the recipes made of them"),
    "recipes/nemorun.py": ("tests/recipes/test_recipes.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/pipeline.py": ("tests/recipes/test_launch.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/protocol.py": ("tests/recipes/test_protocols.py", "recipes import NeMo-Run, which takes seconds"),
    "recipes/site.py": ("tests/recipes/test_launch.py", "a site is tested by what is launched there"),
    "recipes/steps.py": ("tests/recipes/test_launch.py", "steps are tested by what is launched"),
    "recipes/tasks.py": ("tests/recipes/test_recipes.py", "recipes import NeMo-Run, which takes seconds"),
    "run/config/given.py": ("run/test_train.py", "a file of settings is tested by the command that reads it"),
    "run/config/sections.py": ("run/config/test_config_models.py", "sections are tested by the models of them"),
    "run/crossval.py": ("tests/end_to_end/test_crossval.py", "the command calls one function"),
    "run/export.py": ("tests/end_to_end/test_export.py", "the command calls one function"),
    "run/features.py": ("data/features/test_features.py", "the command calls one function"),
    "run/inner/launch.py": ("tests/recipes/test_launch.py", "recipes import NeMo-Run, which takes seconds"),
    "run/inner/protocol.py": ("tests/recipes/test_protocols.py", "recipes import NeMo-Run, which takes seconds"),
    "run/rank.py": ("rank/test_rank.py", "the command calls one function"),
    "run/submit.py": ("submit/test_write.py", "the command calls one function"),
    "run/split.py": ("data/folds/test_split_file.py", "the command calls one function"),
    "submit/chosen.py": ("submit/test_write.py", "what is chosen is tested by the file it ends in"),
    "submit/panel.py": ("submit/test_write.py", "a panel is tested by the file that answers it"),
    "submit/settings.py": ("submit/test_write.py", "a settings class is tested by its command"),
    "train/callbacks/average.py": ("train/test_averaged.py", "it calls the network's own average"),
    "train/callbacks/stopping.py": ("run/inner/test_weigh.py", "signals are handed on by the step that weighs"),
    "train/components.py": ("tests/distributed/test_trainer.py", "it needs NeMo's trainer"),
    "train/config.py": ("tests/distributed/test_trainer.py", "it needs NeMo's trainer"),
    "train/loss.py": ("tests/distributed/test_trainer.py", "it needs Megatron's schedule"),
    "train/module.py": ("tests/distributed/test_trainer.py", "it needs NeMo's trainer"),
    "train/training.py": ("tests/distributed/test_trainer.py", "it needs NeMo's trainer"),
    "types.py": ("test_api.py", "types are tested wherever they are used"),
}
"""Module to its tests, below this folder or the repository, and the reason."""


def _modules() -> set[str]:
    return {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}


def _namesake(module: str) -> Path:
    path = TESTS / module
    return path.with_name(f"test_{path.name}")


def test_every_module_has_a_namesake_or_a_reason():
    assert {module for module in _modules() if not _namesake(module).exists()} - ELSEWHERE.keys() == set()


def test_every_reason_is_needed_and_names_a_test():
    assert [module for module in ELSEWHERE if module not in _modules() or _namesake(module).exists()] == []
    for module, (tests, reason) in ELSEWHERE.items():
        assert reason and ((TESTS / tests).is_file() or (REPOSITORY / tests).is_file()), (module, tests)
