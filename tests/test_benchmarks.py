import numpy as np
import pytest

from benchmarks import precision

HEAD = "run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss\n"


def sweep(folder, losses):
    """A metrics.csv with `losses` of conv-2, by seed, at epoch 10 of 10; other rows are there to mislead."""
    folder.mkdir()
    rows = "".join(
        f"conv-2,conv,2,{seed},9,test,0,0,{loss + 50}\nconv-2,conv,2,{seed},10,train,0,0,{loss - 50}\n"
        f"conv-2,conv,2,{seed},10,test,0,0,{loss}\n"
        for seed, loss in losses.items()
    )
    (folder / "metrics.csv").write_text(HEAD + rows)
    return folder


def test_differences_are_paired_by_seed_at_the_last_epoch(tmp_path):
    one = sweep(tmp_path / "one", {0: 100.0, 1: 140.0, 2: 120.0, 7: 1.0})
    other = sweep(tmp_path / "other", {2: 123.0, 0: 101.0, 1: 142.0, 8: 1.0})
    found = precision.compare(one, other)
    assert found.keys() == {("conv", 2)}
    seeds, mean, half_width = found["conv", 2]
    assert (seeds, mean) == (3, 2.0)
    assert half_width == pytest.approx(4.302653 * 1.0 / np.sqrt(3), rel=1e-6)  # Student's t with two degrees of freedom


def test_folders_without_results_or_seeds_are_one_clear_line(tmp_path, capsys):
    one = sweep(tmp_path / "one", {0: 1.0})
    for second, says in ((tmp_path / "missing", "finished sweeps"), (one, "two seeds or more")):
        assert precision.main([str(one), str(second)]) == 2
        assert says in capsys.readouterr().err
