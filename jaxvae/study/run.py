"""A trained model as a user holds it: what it encodes and draws, how likely examples are, what it is worth; and saved.

In: what training or a run's folder holds. Out: numbers, a report, a page, a folder.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae import results, runs, training
from jaxvae.data import NAMES, Dataset, checked, scaled
from jaxvae.data import load as load_dataset
from jaxvae.errors import CheckpointError, InputError, Remedy, is_whole, quoted
from jaxvae.evaluation import Evaluation, Plan, Report, data_of, likelihood
from jaxvae.jax_settings import own_settings
from jaxvae.page import report
from jaxvae.runs import Past, Progress, checkpoint, run_folder
from jaxvae.study.progress import Stages
from jaxvae.system import as_path, console, machine
from jaxvae.training import TrainState
from jaxvae.values import Text, Whole, plain

QUICK = Plan(samples=(1, 50, 500), images=500)  # of a conv model on MNIST, half a minute on two cores
MAX_SAMPLES = 10**7  # codes that an example is weighted with
GIVEN = "data given to evaluate"  # what tables call data that the run was not trained on


@dataclasses.dataclass(frozen=True, repr=False)
class Run(runs.Run):
    """A trained model with its configuration and its history, as `jaxvae.fit` and `jaxvae.load` return it.

    Example:
        >>> import jaxvae
        >>> x = np.random.default_rng(0).normal(size=(200, 5))
        >>> run = jaxvae.fit(x, latent_dim=2, epochs=3, quiet=True)
        >>> codes = run.codes(x)  # what `encode` gives, as independent normals
        >>> codes.mean.shape, codes.log_std.shape
        ((200, 2), (200, 2))
        >>> run.decode(codes.mean).shape, run.reconstruct(x).shape
        ((200, 5), (200, 5))
        >>> run.sample(jax.random.key(0), 9).shape
        (9, 5)
        >>> [entry["epoch"] for entry in run.metrics]
        [0, 1, 2, 3]
    """

    data: Dataset | None = None  # that it was trained on, perhaps standardised; None of a run that was loaded
    state: TrainState | None = None  # with the optimiser's; of a run with a folder it is there

    def __repr__(self) -> str:
        last = self.metrics[-1]
        how = f"test loss {last['test']['loss']:.2f} nats after epoch {last['epoch']}"
        return f"<Run {self.config.name} of {self.dataset}: {how}{f', {self.diverged}' if self.diverged else ''}>"

    @own_settings()
    def log_likelihood(
        self, examples: Any, samples: Whole = 500, seed: Whole = 0, *, condition: Any = None
    ) -> np.ndarray:
        """log p(x) of each example, [n] in nats, by the importance-weighted bound of `samples` codes: in expectation
        never more than log p(x), and the closer the more codes (Burda, Grosse & Salakhutdinov 2016, equation 8).

        Densities are of the numbers as they are given. Where the run standardises them, its losses and `evaluate` have
        the density of the standardised numbers; that of the given ones is less by Σ log scale. Bytes stand for [0, 1]
        and are dequantised or binarised as the run's test images are. Grey levels have a cross-entropy under a
        Bernoulli likelihood, in place of a log-probability.

        Args:
            examples: [n, *shape], as `encode` takes them.
            samples: codes that are drawn from q(z|x) for each example.
            seed: of these draws, which follow from it and from an example's own numbers: equal examples have equal
                values, whatever they are given with.
            condition: of a model that has one, that of each example, as `encode` takes it; the values are log p(x|c).
                Where it is the class and none is given, the class is summed out, all being equally probable.

        Raises:
            InputError: examples are of another shape or kind; `samples` or `seed` is no such number.
            DataError: the likelihood gives no probability to a number.

        Example:
            >>> import jaxvae
            >>> x = np.random.default_rng(0).normal(size=(200, 5))
            >>> run = jaxvae.fit(x, latent_dim=2, epochs=3, quiet=True)
            >>> run.log_likelihood(x[:7]).shape
            (7,)
        """
        samples, seed = plain(samples), plain(seed)
        for name, value, least, below in (("samples", samples, 1, MAX_SAMPLES), ("seed", seed, 0, 2**32)):
            if not is_whole(value, least, below):
                limits = f"a whole number of at least {least} and below {below:,}"
                raise InputError(f"{name} must be {limits}, not {quoted(value)}")
        if condition is None and (classes := getattr(self.config.vae.condition, "classes", 0)):
            each = [self.log_likelihood(examples, samples, seed, condition=label) for label in range(classes)]
            return np.logaddexp.reduce(each) - np.log(classes)
        dataset = self._as_dataset(examples)
        in_bytes = dataset.test_images.dtype == np.uint8
        seen = self.config.dataset_as_trained(dataset, drawn_once=True) if in_bytes else scaled(dataset)
        x = np.asarray(seen.test_images)
        x = x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x
        conditions = self.conditions(condition, len(x))
        if not len(x):
            return np.zeros(0)
        streams = np.array([zlib.crc32(np.ascontiguousarray(one).data) for one in x], np.uint32)
        batch = likelihood.suitable_batch(self.vae, samples)  # of few examples, too: rounding depends on it
        how: Any = {"conditions": conditions, "streams": streams, "batch": batch}
        weighted = likelihood.bounds(self.vae, self.params, x, (samples,), seed, **how)
        return weighted.bound[0] - self.log_scale

    def _as_dataset(self, examples: Any) -> Dataset:
        """Examples as both splits of a dataset, in the numbers as given."""
        self.as_trained(examples)  # refuses what is of another shape or kind
        x = np.asarray(examples)
        x = x if x.dtype == np.uint8 else x.astype(np.float32)
        dataset = Dataset(GIVEN, x, None, x, None, scaling=self.scaling)
        training.check_support(self.config.vae.likelihood, scaled(dataset))
        return dataset

    def evaluate(self, data: Any = None, plan: Any = QUICK, *, condition: Any = None, quiet: bool = False) -> Report:
        """What the model is worth: likelihoods with their standard errors, and what its codes tell; print the report to
        see it as a table. `jaxvae.evaluation.METRICS` says what each number means.

        Args:
            data: the dataset that the run was trained on, of which the test split is looked at; by default the one that
                `fit` was given. Or other examples, [n, *shape], as `encode` takes them; metrics that need labels are
                left out then.
            plan: a `jaxvae.evaluation.Plan`: what is computed, of how many examples, and how thoroughly; default, up to
                500 codes for each of the first 500.
            condition: of other examples under a model that has one, as `encode` takes it. Likelihoods are given it.
            quiet: shows no progress.

        Raises:
            InputError: the run was loaded and no data are given, or they are another dataset; the plan is no `Plan`.

        Example:
            >>> import jaxvae
            >>> x = np.random.default_rng(0).normal(size=(200, 5))
            >>> run = jaxvae.fit(x, latent_dim=2, epochs=3, quiet=True)
            >>> report = run.evaluate(plan=Plan(samples=(1, 10)), quiet=True)
            >>> [record.label for record in report.records][:3]
            ['ELBO', 'rate', 'distortion']
        """
        if not isinstance(plan, Plan):
            raise InputError(f"plan must be a jaxvae.evaluation.Plan, not {quoted(plan)}")
        conditions = None
        if data is None or isinstance(data, Dataset):
            if condition is not None:
                raise InputError("the dataset has the conditions of its examples; give none beside it")
            run, dataset = self, self._dataset(data)
        else:
            dataset = checked(self._as_dataset(data))
            conditions = self.conditions(condition, len(dataset.test_images))
            run = dataclasses.replace(self, about=self.about | {"dataset": results.about(dataset)["dataset"]})
        with Stages(console(quiet=quiet)) as stages:
            stages.begin(self.config.name)
            return Evaluation(plan, stages.advance).evaluate(run, dataset, conditions)

    def _dataset(self, given: Dataset | None) -> Dataset:
        """That which the run was trained on: given, at hand, or read again from where it was."""
        if given is None and self.data is not None:
            return self.data
        if given is None:
            source: Any = self.trained_on.get("source") or ({"name": self.dataset} if self.dataset in NAMES else None)
            if source is None:
                raise InputError(f"{self.config.name} has no data with it; give the dataset that it was trained on")
            given = load_dataset(**source)
        return data_of(self, checked(given))

    @own_settings()
    def save(self, folder: str | os.PathLike) -> Path:
        """Makes `folder` a run's folder, which `jaxvae.load`, `jaxvae evaluate` and `jaxvae report` read; returns it.

        It appears whole or not at all. Of a run that was trained in memory it holds the state after the last epoch.

        Args:
            folder: that does not exist, is empty, or has this run already.

        Raises:
            InputError: there is something else, or it lies in another run's folder.
            StorageError: the disk is full or refuses.

        Example:
            >>> import jaxvae, tempfile
            >>> x = np.random.default_rng(0).normal(size=(200, 5))
            >>> run = jaxvae.fit(x, latent_dim=2, epochs=3, quiet=True)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     jaxvae.load(run.save(folder + "/mine")).config == run.config
            True
        """
        folder = as_path(folder).absolute()
        with machine.storage(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                if not self._is_in(folder):
                    raise InputError(f"{folder} has something else in it; {Remedy.ANOTHER_FOLDER}")
                return folder
            if around := run_folder.run_around(folder):
                raise InputError(f"{folder} lies in the folder of the run {around}; {Remedy.ANOTHER_FOLDER}")
            part = folder.with_name(f".{folder.name}.part-{os.getpid()}")
            try:
                self._write(part)
                part.replace(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return folder

    def _is_in(self, folder: Path) -> bool:
        """Whether the folder has this very run as the newest."""
        try:
            there = runs.load(folder)
        except CheckpointError:
            return False
        same = there.config == self.config and there.metrics == self.metrics
        return same and jax.tree.all(jax.tree.map(np.array_equal, there.params, self.params))

    def _write(self, folder: Path) -> None:
        if self.state:
            run_folder.write_config(folder, self.config, self.about)
            checkpoint.save(folder, Progress(self.state, self.metrics, self.reconstructions, self.diverged))
            return
        epoch = str(self.metrics[-1]["epoch"])
        shutil.copytree(self.folder / "checkpoints" / epoch, folder / "checkpoints" / epoch)
        shutil.copy(self.folder / "config.json", folder)
        checkpoint.settle(folder, Past(self.metrics, self.diverged))

    @own_settings()
    def report(self, path: str | os.PathLike | None = None, data: Dataset | None = None) -> Path:
        """Writes the page of this run and returns its path: one HTML file with losses and, of pictures, reconstructions
        and the latent space to walk through.

        Args:
            path: of the file, or a folder for it; default, report.html in the run's folder, or a file of the run's name
                in the working folder for one that was trained in memory. An earlier page is replaced.
            data: the dataset that the run was trained on; by default the one that `fit` was given. Without it the page
                has no pictures.

        Raises:
            InputError: there is no such folder; or the run was trained on other data.
        """
        folder = None if self.state else self.folder
        own = Path(f"{self.config.name}.html") if folder is None else folder / report.PAGE
        path = own if path is None else as_path(path)
        path = path / report.PAGE if path.is_dir() else path
        if not path.parent.is_dir():
            raise InputError(f"{path.parent} is no folder; the page cannot be written there")
        run, dataset = self.in_trained_numbers(), None
        if data is not None or self.data is not None:
            dataset = self.config.dataset_as_trained(self._dataset(data))
        found = results.Results((run.outcome,), run.trained_on)
        with machine.storage(path):
            runs.write(path, report.page(found, folder, [run], dataset))
        return path


@own_settings()
def load(folder: str | os.PathLike, epoch: Whole | Text = "latest", *, parts: Iterable[Any] = ()) -> Run:
    """The run in `folder`, as one of its checkpoints holds it. Nothing is imported that a file names.

    Args:
        parts: classes of parts that the configuration names and that are not registered, `parts=[MyPrior]`.
        epoch: `latest`; `best`, the one with the lowest test loss, or with the lowest −ELBO where a schedule changes
            the loss from epoch to epoch; or a number, of those that are kept.

    Raises:
        CheckpointError: the folder is missing or damaged, names an unknown part, or holds no such checkpoint.
    """
    run = runs.load(folder, epoch, parts=parts)
    return Run(**{field.name: getattr(run, field.name) for field in dataclasses.fields(run)})
