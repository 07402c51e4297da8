"""A small sweep's folder with everything that a report can show, trained here and now."""

import json

import numpy as np

from jaxvae.evaluation.records import Record
from jaxvae.results import Results, about, write_sweep, write_tables
from jaxvae.runs import run as trained
from jaxvae.study.study import Study
from tests.classic import classic

# both architectures, both precisions, a latent plane and a space
MODELS = (("linear", 2, "float32"), ("conv", 3, "bfloat16"))
EPOCHS = 4
RUNS = [
    classic(architecture, d, precision=precision, batch_size=5, epochs=EPOCHS, learning_rate=0.005, beta=0.01)
    for architecture, d, precision in MODELS
]
LINEAR, CONV = (run.name for run in RUNS)


def made(folder, dataset):
    """Runs in `folder`, its tables, and an evaluation of one run."""
    study = Study(folder, RUNS, dataset)
    study.train(quiet=True)
    outcomes = tuple(trained.load(folder / run.name).outcome for run in RUNS)
    confusion = np.diag(np.bincount(dataset.test_labels, minlength=10)).tolist()
    results = Results(outcomes, study.about["dataset"], digits(RUNS, confusion, len(dataset.test_labels)))
    write_tables(folder, results)
    write_sweep(folder, results, study.about, study.how | {"wall_seconds": 61.0})
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": [evaluation(RUNS[0], dataset)]}))


def large(folder, dataset, outcomes):
    """Tables of a grid as if it had been trained; without checkpoints."""
    confusion = np.eye(10, dtype=int).tolist()
    origin = about(dataset)
    results = Results(tuple(outcomes), origin["dataset"], digits([one.config for one in outcomes], confusion, 10))
    write_tables(folder, results)
    how = {"strategy": "vmap", "workers": 1, "epochs_trained_before": 0, "epochs_trained": 9, "wall_seconds": 9.0}
    write_sweep(folder, results, origin, how)
    return results


def digits(runs, confusion, images):
    """The content of digits.json, with one record for all runs."""
    record = {"classes": [], "purity": [], "silhouette": [], "radius": [], "confusion": confusion}
    classifier = {"epochs": 2, "accuracy": 1.0, "test_images": images}
    return {"classifier": classifier, "runs": {run.name: record for run in runs}}


def evaluation(config, dataset, samples=500, bound=-150.25):
    """What experiments.evaluate writes of a run, as far as a report reads it."""
    shared = {"split": "test", "images": 25, "binarization": "none", "dataset": dataset.name,
              "fingerprint": dataset.fingerprint, "run": config.name}  # fmt: skip
    bounds = Record("L_K", bound, 0.5, None, "nats", "importance weighting", samples, **shared)
    active = Record("active units", 2.0, None, None, "dimensions", "variance", None, **shared)
    content = {"config": config.to_json(), "epoch": config.epochs}
    return content | {"records": [bounds._asdict(), active._asdict()]}
