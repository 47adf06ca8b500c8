"""Networks of other bands than three: what they get, to the value, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from dnd_assets.errors import StudyError
from dnd_assets.files.images import as_raster
from dnd_assets.files.rasters.raster import Raster
from resources.runtime.compute import Compute
from resources.targets.inputs import BandTransform, NetworkInput
from resources.targets.network_sources import TargetModel
from resources.targets.networks import TargetNetworks
from tests.files.rasters import dicom, png16, ramp


def networks(factory, **told):
    spec = TargetModel(name="net", source=f"module:{factory}", input=told)
    return TargetNetworks(models=[spec], compute=Compute(device="cpu"))


def seen(raster, **told):
    told.setdefault("bands", list(range(1, raster.bands + 1)))
    return BandTransform(NetworkInput.of(told))(raster).numpy()


def bands(count, dtype=np.uint16, most=4000, side=16):
    rng = np.random.default_rng(count)
    return Raster(rng.integers(0, most, (count, side, side)).astype(dtype), "made")


SIZE = {"size": [16, 16]}


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"scale": 10_000}, lambda v: v / 10_000),
        ({"scale": [100, 300]}, lambda v: (v - 100) / 200),
        ({"scale": [[0, 1], [0, 2], [1, 3], [0, 10]]},
         lambda v: (v - np.array([0, 0, 1, 0])[:, None, None])
         / np.array([1, 2, 2, 10])[:, None, None]),
        ({"scale": "none"}, lambda v: v),
        ({"scale": "none", "mean": [5], "std": [2]}, lambda v: (v - 5) / 2),
        ({"mean": [1, 2, 3, 4], "std": [2, 2, 4, 4]},
         lambda v: (v - np.array([1, 2, 3, 4])[:, None, None])
         / np.array([2, 2, 4, 4])[:, None, None]),
        ({"scale": 100.0, "bands": [4, 2]}, lambda v: v[[3, 1]] / 100),
    ],
)  # fmt: skip
def test_values_are_scaled_as_declared(told, wanted):
    raster = bands(4)
    found = seen(raster, **SIZE, **told)
    assert np.allclose(found, wanted(raster.values.astype(np.float64)), rtol=1e-5)


def test_eight_bits_are_divided_by_255_and_others_have_to_be_declared():
    eight = bands(3, np.uint8, 255)
    assert np.allclose(seen(eight, **SIZE), eight.values / 255)
    with pytest.raises(StudyError, match=r"nothing says how values of uint16 .* Write scale"):
        seen(bands(3), **SIZE)
    with pytest.raises(StudyError, match="do not say how large they can be"):
        seen(bands(3), scale="full", **SIZE)


def test_torchxrayvision_gets_one_band_from_minus_1024_to_1024():
    told = {"convention": "torchxrayvision"}
    stored = ramp(1, 224, 224)[0]
    found = seen(as_raster(dicom(stored)), **told)
    assert found.shape == (1, 224, 224)
    # torchxrayvision.utils.normalize: (2 * (img / maxval) - 1) * 1024, maxval 2 ** bits - 1.
    assert np.allclose(found[0], (2 * (stored / 4095) - 1) * 1024, atol=1e-2)
    inverted = seen(as_raster(dicom(stored, "MONOCHROME1")), **told)
    assert np.allclose(
        inverted[0], (2 * ((4095 - stored.astype(int)) / 4095) - 1) * 1024, atol=1e-2
    )
    eight = Raster(bands(1, np.uint8, 255, 224).values, "PNG")
    assert np.allclose(seen(eight, **told), (2 * (eight.values / 255) - 1) * 1024, atol=1e-2)
    deep = as_raster(png16(stored[None]))
    with pytest.raises(StudyError, match="a 16-bit file may hold 12 bits"):
        seen(deep, **told)
    declared = seen(deep, **told, scale=[0, 4095])
    assert np.allclose(declared, found, atol=1e-2)


def test_pixels_without_data_are_zero_in_what_the_network_takes():
    valid = np.ones((16, 16), bool)
    valid[:4] = False
    values = np.full((2, 16, 16), 100, np.float32)
    values[:, :4] = np.nan
    found = seen(Raster(values, "x", valid), scale=[0, 50], mean=[1], **SIZE)
    assert (found[:, :4] == 0).all()
    assert np.allclose(found[:, 4:], 1)


def test_the_short_side_is_resized_and_the_middle_cut_out():
    values = np.zeros((1, 20, 60), np.uint8)
    values[:, :, 20:40] = 255
    found = seen(Raster(values, "x"), size=[20, 20])
    assert found.shape == (1, 20, 20)
    assert (found == 1).all()


def test_a_network_of_thirteen_bands_gets_each():
    nets = networks("tests.band_networks:thirteen", scale=4000.0, **SIZE)
    raster = bands(13)
    (row,) = nets.activations("net", {"bands": "mean"}, [raster])["bands"]
    assert np.allclose(row, raster.values.mean(axis=(1, 2)) / 4000, atol=1e-3)
    (heat,) = nets.maps("net", [("bands", 7)], [raster])["bands", 7]
    assert np.allclose(heat, raster.values[7] / 4000, atol=1e-3)
    assert "it gets the bands from the first on" in nets.assumptions("net")[0]


def test_bands_and_scale_are_part_of_what_a_network_is_known_by():
    usual = networks("tests.band_networks:four", scale=255.0, **SIZE).fingerprint("net")
    for told in ({"scale": 100.0}, {"scale": 255.0, "bands": [4, 3, 2, 1]},
                 {"scale": 255.0, "mean": [0.5]}):  # fmt: skip
        other = networks("tests.band_networks:four", **SIZE, **told).fingerprint("net")
        assert other != usual


@pytest.mark.parametrize(("factory", "told", "why"), [
    ("four", {"bands": [1, 2, 3], **SIZE}, r"takes 4 bands, and the study gives it 3 bands"),
    ("four", {"scale": 1.0}, r"nothing says how large .* size = 224"),
    ("four", {"mean": [1, 2], **SIZE}, "models.input.mean has 2 numbers for 4 bands"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_before_any_picture(factory, told, why):
    with pytest.raises(StudyError, match=why):
        networks(f"tests.band_networks:{factory}", **told).layers("net")


def test_a_network_of_other_bands_without_a_declaration_says_how_to_declare():
    with pytest.raises(StudyError, match=r"takes 13 channels.*\[models.input\] with bands"):
        networks("tests.band_networks:thirteen").layers("net")


def test_a_picture_of_fewer_bands_is_refused_by_name():
    nets = networks("tests.band_networks:four", **SIZE)
    with pytest.raises(StudyError, match="a picture of 3 bands of uint8 has no band 4"):
        nets.activations("net", {"bands": "mean"}, [bands(3, np.uint8, 255)])


def test_a_transform_of_the_users_own_gets_the_chosen_bands():
    nets = networks("tests.own_band_transform:two", bands=[3, 1], scale="none")
    raster = Raster(np.full((3, 16, 16), 7.0, np.float32), "x")
    (row,) = nets.activations("net", {"bands": "mean"}, [raster])["bands"]
    assert row.tolist() == [3.0, 1.25]


def test_painted_pictures_go_to_the_bands_that_are_shown():
    painted = Image.new("RGB", (16, 16), (255, 51, 0))
    ask = BandTransform(NetworkInput.of({"bands": [1, 2, 3, 4], **SIZE}))
    with pytest.raises(StudyError, match='missing = "zero"'):
        ask(painted)
    for missing, fourth in (("zero", 0.0), ("grey", 0.299 + 0.587 * 0.2)):
        told = {"bands": [1, 2, 3, 4], "missing": missing, **SIZE}
        found = BandTransform(NetworkInput.of(told))(painted).numpy()
        assert np.allclose(found[:, 3, 3], [1, 0.2, 0, fourth], atol=1e-5)
    sentinel = {"bands": list(range(1, 14)), "scale": 10_000, "missing": "zero", **SIZE}
    found = BandTransform(NetworkInput.of(sentinel))(painted).numpy()[:, 3, 3]
    assert np.allclose(found[[3, 2, 1]], [0.3, 0.06, 0], atol=1e-5)
    assert not found[[0, *range(4, 13)]].any()
    xray = BandTransform(NetworkInput.of({"convention": "torchxrayvision"}))
    grey = xray(Image.new("RGB", (30, 20), (255, 255, 255)))
    assert torch.allclose(grey, torch.full((1, 224, 224), 1024.0), atol=1e-2)


def test_weights_of_other_bands_are_put_into_a_known_network(tmp_path):
    import safetensors.torch
    from torchvision.models import resnet18

    module = resnet18(num_classes=10)
    module.conv1 = torch.nn.Conv2d(4, 64, 7, 2, 3, bias=False)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "four.safetensors")
    told = {"bands": [1, 2, 3, 4], "size": [32, 32]}
    spec = TargetModel(name="net", source="torchvision:resnet18",
                       weights=str(tmp_path / "four.safetensors"), input=told)  # fmt: skip
    nets = TargetNetworks(models=[spec], compute=Compute(device="cpu"))
    raster = bands(4, np.uint8, 255, 32)
    pixels = torch.from_numpy(raster.values / np.float32(255))[None]
    wanted = module.eval()(pixels).detach().numpy()
    assert np.allclose(nets.outputs("net", [raster]), wanted, atol=1e-3)
