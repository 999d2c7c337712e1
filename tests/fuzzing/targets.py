"""What is fuzzed: a function that writes a valid file, and the public entry that reads it."""

from fuzzing import (
    networks,
    pairs,
    pictures,
    runs,
    settings,
    trap_images,
    trap_pairs,
    trap_units,
    trap_yardsticks,
    volumes,
)
from fuzzing.case import Trap
from fuzzing.target import Target

MADE = ("figures/*", "report.html", "table1.md", "table1.csv")
# Figures take seconds, as they do for valid files.
DRAWING = 60.0
RUN_FILES = (".json", ".jsonl", ".toml", ".npz")
RESUMED = (*RUN_FILES, ".safetensors")
TARGETS: dict[str, Target | Trap] = {
    target.name: target
    for target in (
        Target("settings", settings.write_settings, settings.read_settings, 0.10, (".toml",)),
        Target("overrides", settings.write_overrides, settings.read_overrides, 0.08, (".txt",)),
        Target("idx", pictures.write_idx, pictures.read_idx, 0.06, ("", ".gz")),
        Target("npy-images", pictures.write_npy, pictures.reader_of("images.npy"), 0.08, (".npy",)),
        Target("npz-images", pictures.write_npz, pictures.reader_of("images.npz"), 0.08, (".npz",)),
        Target("png-images", pictures.write_pngs, pictures.reader_of("."), 0.06, (".png",)),
        Target("patches", pictures.write_patches, pictures.read_patches, 0.06, (".png", ".npy")),
        Target("tensors", networks.write_tensors, networks.read_tensors, 0.06, (".safetensors",)),
        Target(
            "weights",
            networks.write_weights,
            networks.read_weights,
            0.06,
            (".safetensors", ".toml"),
        ),
        Target("onnx", networks.write_onnx, networks.read_onnx, 0.04, (".onnx",)),
        Target("matrix", pictures.write_matrix, pictures.read_matrix, 0.06, (".npy",)),
        Target("pairs-npz", pairs.write_pairs, pairs.auditor_of("pairs.npz"), 0.05, (".npz",)),
        Target("pairs-h5", pairs.write_h5, pairs.auditor_of("pairs.h5"), 0.05, (".h5",)),
        Target("nifti", volumes.write_nifti, pictures.reader_of("a.nii"), 0.04, (".nii",)),
        Target("nifti-gz", volumes.write_packed, pictures.reader_of("a.nii.gz"), 0.02, (".gz",)),
        Target("nrrd", volumes.write_nrrd, pictures.reader_of("a.nrrd"), 0.04, (".nrrd",)),
        Target("cfl", volumes.write_cfl, pictures.reader_of("a.cfl"), 0.03, (".cfl", ".hdr")),
        Target("dicom", volumes.write_series, pictures.reader_of("."), 0.04, (".dcm",)),
        Target("fastmri", volumes.write_fastmri, volumes.read_kspace, 0.04, (".h5",)),
        Target("audit", pairs.write_audit, pairs.read_audit, 0.05, (".json",)),
        Target(
            "audit-page",
            pairs.write_audit,
            pairs.build_audit,
            0.005,
            (".json", ".npz"),
            MADE,
            DRAWING,
        ),
        Target("run", runs.write_run, runs.read_run, 0.10, RUN_FILES),
        Target("run-begun", runs.write_partial_run, runs.read_run, 0.04, (".jsonl", ".toml")),
        Target("run-resumed", runs.write_resumable_run, runs.read_resumable_run, 0.08, RESUMED),
        Target("run-page", runs.write_run, runs.build_run, 0.003, RUN_FILES, MADE, DRAWING),
        Target("sweep-file", settings.write_sweep_file, settings.read_sweep_file, 0.06, (".toml",)),
        Target("sweep", runs.write_sweep, runs.read_sweep, 0.05, (".parquet", ".json")),
        Target(
            "sweep-page",
            runs.write_sweep,
            runs.build_run,
            0.003,
            (".parquet", ".json"),
            MADE,
            DRAWING,
        ),
        Trap("trap-images", trap_images.draw, 0.10),
        Trap("trap-patches", trap_images.draw_patch, 0.04),
        Trap("trap-pairs", trap_pairs.draw, 0.06),
        Trap("trap-units", trap_units.draw, 0.04),
        Trap("trap-yardsticks", trap_yardsticks.draw, 0.06),
    )
}
