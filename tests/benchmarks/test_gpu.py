"""`python -m benchmarks.gpu`: what it counts, what it works out, and its path with tiny models."""

import csv
import math

import numpy as np
import pytest
import torch

from benchmarks import flops, gpu, paper_models
from benchmarks.gpu import Seconds
from benchmarks.gpu_run import FEW_STEPS, PAPER_SETTING, Measured, Stage, peak_rate
from benchmarks.paper_models import PAPER

MILLION = 1e6


@pytest.fixture(scope="module")
def work():
    return flops.count(PAPER)


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        ("target", 25.56),  # torchvision's table of ResNet-50
        ("unet", 859.52),  # Stable Diffusion 1.4: "860M UNet"
        ("vae", 83.65),
        ("text_encoder", 123.06),  # "123M text encoder"
        ("checker", 303.98),
        ("blip", 223.97),
        ("clip", 149.62),  # open_clip's table of ViT-B/16
    ],
)
def test_the_models_are_of_the_papers_size(make, millions):
    found = flops.parameters(getattr(paper_models, make), PAPER)
    assert found / MILLION == pytest.approx(millions, abs=0.006)


def test_operations_are_those_that_are_known(work):
    assert work.target == pytest.approx(2 * 4.09e9, rel=0.01)  # torchvision: 4.09 GFLOPS fused
    assert work.clip == pytest.approx(2 * 17.5e9, rel=0.03)
    assert work.decode == pytest.approx(2.5e12, rel=0.02)


def test_the_denoiser_takes_what_is_stated_and_attention_besides(work):
    """The products within attention, by hand: 2 products, 2 operations, for each block's tokens.

    Blocks with attention: 5 at 64 x 64 with 320 channels, 5 at 32 x 32 with 640, 6 at 16 x 16 and
    1 at 8 x 8 with 1,280; each attends to its tokens and to 77 of the prompt.
    """
    blocks = [(5, 64**2, 320), (5, 32**2, 640), (5, 16**2, 1280), (1, 8**2, 1280)]
    attention = sum(many * 4 * tokens * (tokens + 77) * width for many, tokens, width in blocks)
    assert work.unet - attention == pytest.approx(0.68e12, rel=0.01)


def test_a_count_by_hand():
    """The target's counter on one product: 2 x 3 x 4 x 5."""
    found = flops._flops(lambda: torch.ones(3, 4, device="meta") @ torch.ones(4, 5, device="meta"))
    assert found == 2 * 3 * 4 * 5


def test_the_floor_is_the_stated_one():
    assert gpu.floor(gpu.STATED, PAPER_SETTING, 790e12) == pytest.approx(4.46, abs=0.01)
    few = 50 * (4 * 0.68 + 2.5) / 790
    assert gpu.floor(gpu.STATED, FEW_STEPS, 790e12) == pytest.approx(few)


def test_concepts_recur_as_the_published_labels(shared_dir):
    file = shared_dir / "published" / "dnd_resnet50_fc.csv"
    with file.open(encoding="utf-8", newline="") as rows:
        labels = np.array([row["label"].strip().lower() for row in csv.DictReader(rows)])
    dice = np.random.default_rng(0)
    for count, expected in gpu.DISTINCT.items():
        draws = [len(set(dice.choice(labels, count, replace=False))) for _ in range(200)]
        assert np.mean(draws) == pytest.approx(expected, rel=0.005)


def test_distinct_concepts_follow_the_points_and_go_on():
    for count, found in gpu.DISTINCT.items():
        assert gpu.distinct(count) == pytest.approx(found)
    slope = math.log(869.0 / 277.2) / math.log(1000 / 300)
    assert gpu.distinct(5000) == pytest.approx(869.0 * 5**slope)
    assert gpu.distinct(1) == 1
    shares = [gpu.distinct(n) / n for n in (5, 50, 500, 5000)]
    assert shares == sorted(shares, reverse=True)


def measured(setting, painting, rest, probing):
    stages = [
        Stage("activations", 4, probing, 10**9),
        Stage("captions", 4, 4 * rest, 10**9),
        Stage("synthetic_images", 4, 4 * painting, 3 * 10**9),
    ]
    return Measured(setting, stages, 1000, {}, {"clip": 64})


def test_seconds_are_shared_out_by_hand():
    """Probing: 2 s for 1,000 images, so 226.61 s for the paper's, over its 3,840 neurons."""
    found = gpu.seconds_of(measured(PAPER_SETTING, 8.0, 0.5, 2.0))
    assert found.painting == 8.0
    assert found.rest == pytest.approx(0.5)
    assert found.total() == pytest.approx(8.5 + 226.61 / 3840)
    (ten, share, cost), *_, (thousand, _, least) = gpu.curve(found)
    assert (ten, thousand) == (10, 1000)
    assert cost == pytest.approx(8 * share + 0.5 + 22.661)
    assert least < cost


@pytest.mark.parametrize(
    ("painting", "rest", "met"),
    [(8.0, 0.5, [True, True]), (9.0, 0.5, [False, True]), (6.0, 0.9, [True, False])],
)
def test_targets_are_judged(painting, rest, met):
    paper, few = (
        Seconds({"synthetic_images": painting, "x": rest}, 0.0),
        Seconds({"synthetic_images": 0.8, "x": 0.1}, 0.0),
    )
    whole, quick, share, _ = gpu.targets(paper, few, 4.46)
    assert [whole.met, share.met] == met
    assert not quick.met
    cheap = Seconds({"synthetic_images": 0.6, "x": 0.1}, 0.0)
    assert gpu.targets(paper, cheap, 4.46)[1].met


def test_the_peak_is_a_rate():
    assert 1e8 < peak_rate(torch.device("cpu"), torch.float32) < 1e14


def test_the_table_goes_between_the_marks(tmp_path):
    file = tmp_path / "performance.md"
    file.write_text(f"before\n{gpu.BEGIN}\nold\n{gpu.END}\nafter\n")
    gpu.put(file, "new")
    gpu.put(file, "newer")
    assert file.read_text() == f"before\n{gpu.BEGIN}\nnewer\n{gpu.END}\nafter\n"
    file.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks"):
        gpu.put(file, "new")


def test_the_document_has_the_marks():
    text = gpu.DOCS.read_text(encoding="utf-8")
    assert text.count(gpu.BEGIN) == text.count(gpu.END) == 1


def test_full_size_is_refused_without_a_card(monkeypatch, capsys, work):
    without = property(lambda self: False)
    monkeypatch.setattr("resources.runtime.compute.Compute.accelerated", without)
    monkeypatch.setattr(gpu, "put", None)
    monkeypatch.setattr(flops, "count", lambda size: work)
    assert gpu.main(["--write"]) == 2
    assert "this machine has none" in capsys.readouterr().out
    assert gpu.main(["--floor"]) == 0
    assert "3.52 PFLOP" in capsys.readouterr().out


def test_tiny_models_are_never_written(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--tiny", "--write"])
    assert "leave out one" in capsys.readouterr().err


def test_the_whole_path_with_tiny_models(monkeypatch, capsys, work, one_thread):
    before = gpu.DOCS.read_bytes()
    counted = flops.count
    monkeypatch.setattr(flops, "count", lambda size: work if size is PAPER else counted(size))
    assert gpu.main(["--tiny", "--dtype", "float32"]) == 0
    shown = capsys.readouterr().out
    for stage in ("activations", "crops", "captions", "synthetic_images", "scores", "labels"):
        assert f"| {stage} |" in shown
    assert "nothing else" in shown
    assert "share of the peak" in shown
    assert [line.split(" | ")[0] for line in shown.splitlines() if line.startswith("| 1")] == [
        "| 10", "| 100", "| 1,000",
    ]  # fmt: skip
    assert gpu.DOCS.read_bytes() == before
