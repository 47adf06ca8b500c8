"""Networks of a user's own: what counts, without building them, and that no two are mixed."""

import json
import os
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dnd_assets.errors import StudyError
from resources.own_code import notes
from resources.own_code.own_function import OwnCode
from resources.own_code.own_places import is_system
from resources.runtime import model_cache
from resources.targets.networks import TargetNetworks

TRANSFORMS = """
import torch
from torch import nn
from torchvision.transforms import v2

def transforms():
    return v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
"""
CONV = """
class Net(nn.Module):
    def __init__(self, value=1.0, scale=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        nn.init.constant_(self.conv.weight, value)
        self.scale = scale
    def forward(self, x):
        return self.conv(x * self.scale)
"""


def write(folder, **files):
    """Python files beside a study; `net` begins with what every network here needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        code = textwrap.dedent(text)
        path.write_text(TRANSFORMS + CONV + code if name == "net" else code)


@pytest.fixture
def study(cpu, tmp_path):
    """Networks of a study in `tmp_path`, each time as a new process would have them."""

    def networks(folder=tmp_path, cards="cards"):
        notes._in_memory.clear()
        model_cache._loaded.clear()
        cards = cards and str(folder / cards)
        model = {"name": "net", "source": "module:net:make"}
        return TargetNetworks(models=[model], base=str(folder), cards=cards, compute=cpu)

    return networks


@pytest.fixture
def builds(monkeypatch):
    """How often own code is imported."""
    made = []
    load = OwnCode.load
    monkeypatch.setattr(OwnCode, "load", lambda self: made.append(1) or load(self))
    return made


def package(site, name, version, value):
    """An installed package."""
    (site / name).mkdir(parents=True, exist_ok=True)
    (site / name / "__init__.py").write_text(f"VALUE = {value}\n")
    info = site / f"{name}-{version}.dist-info"
    for old in site.glob(f"{name}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n")


def helper(folder, value):
    write(folder, helpers=f"VALUE = {value}")


def lazy(folder, value):
    write(folder, pkg____init__="", pkg__deep="from . import far", pkg__far=f"VALUE = {value}")


def torch_file(folder, value):
    torch.save(torch.tensor(value), folder / "value.pt")


def safe_file(folder, value):
    save_file({"value": torch.tensor(value)}, folder / "value.safetensors")


def json_file(folder, value):
    (folder / "conf.json").write_text(json.dumps({"value": value}))


def variable(folder, value):
    os.environ["DND_TEST_VALUE"] = str(value)


def installed(folder, value):
    package(folder / "site-packages", "own_dependency", f"{value}", 1.0)


def newest(folder, value):
    (folder / "steps").mkdir(exist_ok=True)
    (folder / "steps" / f"{value}.txt").write_text("")


CASES = {
    "imported module": ("import helpers\ndef make(): return Net(helpers.VALUE)", helper),
    "module imported in the factory": (
        "def make():\n    from helpers import VALUE\n    return Net(VALUE)",
        helper,
    ),
    "module of a package, two steps away": (
        "def make():\n    import pkg.deep\n    return Net(pkg.deep.far.VALUE)",
        lazy,
    ),
    "module imported by a name put together": (
        "import importlib\n"
        "def make(): return Net(importlib.import_module('hel' + 'pers').VALUE)",
        helper,
    ),
    "file beside it": (
        "from pathlib import Path\n"
        "def make(): return Net(float(torch.load(Path(__file__).parent / 'value.pt')))",
        torch_file,
    ),
    "file of safetensors, its name put together": (
        "from pathlib import Path\nfrom safetensors.torch import load_file\n"
        "def make():\n"
        "    path = Path(__file__).parent / ('value.' + 'safetensors')\n"
        "    return Net(float(load_file(path)['value']))",
        safe_file,
    ),
    "file that changes no parameter": (
        "import json\nfrom pathlib import Path\n"
        "def make():\n"
        "    text = (Path(__file__).parent / ('conf' + '.json')).read_text()\n"
        "    return Net(scale=json.loads(text)['value'])",
        json_file,
    ),
    "file opened by a helper": (
        "import reading\ndef make(): return Net(reading.value())",
        lambda folder, value: (
            write(
                folder,
                reading="""
                    import json, os
                    def value():
                        with open(os.path.join(os.path.dirname(__file__), "conf" + ".json")) as f:
                            return json.load(f)["value"]
                """,
            ),
            json_file(folder, value),
        ),
    ),
    "environment variable": (
        "import os\ndef make(): return Net(float(os.environ['DND_TEST_VALUE']))",
        variable,
    ),
    "environment variable, its name put together": (
        "import os\ndef make(): return Net(float(os.getenv('DND_' + 'TEST_VALUE', '0')))",
        variable,
    ),
    "environment variable, of a copy of all": (
        "import os\ndef make(): return Net(float(dict(os.environ)['DND_TEST_VALUE']))",
        variable,
    ),
    "installed package": (
        "import own_dependency\ndef make(): return Net(own_dependency.VALUE)",
        installed,
    ),
    "listed folder": (
        "import os\ndef make():\n"
        "    names = os.listdir(os.path.join(os.path.dirname(__file__), 'steps'))\n"
        "    return Net(max(float(name[:-4]) for name in names))",
        newest,
    ),
    "FILES": (
        "FILES = ['value.pt']\ndef make(): return Net()",
        torch_file,
    ),
    "FILES put together": (
        "FILES = [f'value.{end}' for end in ['p' + 't']]\ndef make(): return Net()",
        torch_file,
    ),
}  # fmt: skip


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """An environment of its own, and a folder of installed packages."""
    monkeypatch.setenv("DND_TEST_VALUE", "0")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    yield
    sys.modules.pop("own_dependency", None)


@pytest.mark.parametrize("case", CASES)
def test_a_change_is_seen_without_building_the_network(case, study, tmp_path, clean, builds):
    code, change = CASES[case]
    change(tmp_path, 1.0)
    write(tmp_path, net=code)
    first = study().fingerprint("net")
    made = len(builds)

    assert study().fingerprint("net") == first
    assert len(builds) == made, "what is known is not built again"
    (tmp_path / "unrelated.txt").write_text("x")
    write(tmp_path, unrelated="x = 1")
    assert study().fingerprint("net") == first
    change(tmp_path, 2.0)
    second = study().fingerprint("net")
    assert second != first
    assert len(builds) > made
    if case != "listed folder":
        change(tmp_path, 1.0)
        assert study().fingerprint("net") == first


@pytest.mark.parametrize("case", ["imported module", "file beside it", "environment variable"])
def test_it_is_the_changed_network_that_runs(case, study, tmp_path, clean, photos):
    """Also in the process that ran the network before, which holds it in memory."""
    code, change = CASES[case]
    change(tmp_path, 1.0)
    write(tmp_path, net=code)
    networks = study()
    one = networks.activations("net", {"conv": "auto"}, photos[:1])["conv"]
    change(tmp_path, 2.0)
    networks.fingerprint("net")

    two = networks.activations("net", {"conv": "auto"}, photos[:1])["conv"]

    bias = networks._network("net").module.conv.bias.numpy()
    assert np.allclose(two - bias, 2 * (one - bias), rtol=1e-3)


def test_a_network_that_changes_under_way_is_refused(study, tmp_path, photos):
    write(tmp_path, net="import helpers\ndef make(): return Net(helpers.VALUE)")
    helper(tmp_path, 1.0)
    networks = study()
    networks.fingerprint("net")  # what rows are kept under
    helper(tmp_path, 2.0)

    with pytest.raises(StudyError, match="network 'net' is not the one that its results are made"):
        networks.activations("net", {"conv": "auto"}, photos[:1])


def test_two_networks_never_mix_under_one_hash(study, tmp_path, photos, monkeypatch):
    """A cause that nothing tells of: the state that was loaded is compared with the known one."""
    write(tmp_path, net="import builtins\ndef make(): return Net(builtins.dnd_test_value)")
    monkeypatch.setattr("builtins.dnd_test_value", 1.0, raising=False)
    study().fingerprint("net")
    monkeypatch.setattr("builtins.dnd_test_value", 2.0)

    networks = study()
    networks.fingerprint("net")
    with pytest.raises(StudyError, match=r"its weights differ.*seed it, or save its state_dict"):
        networks.activations("net", {"conv": "auto"}, photos[:1])


@pytest.mark.parametrize(
    "draw",
    [
        "torch.rand(1).item()",
        "__import__('numpy').random.rand()",
        "__import__('random').random()",
    ],
)
def test_random_numbers_are_seeded(draw, study, tmp_path):
    write(tmp_path, net=f"VALUE = {draw}\ndef make(): return Net(VALUE + {draw})")

    assert study().fingerprint("net") == study().fingerprint("net")
    before = torch.get_rng_state()
    study()._network("net")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import os, struct\n"
            "def make(): return Net(struct.unpack('I', os.urandom(4))[0])",
            "parameters or buffers differ",
        ),
        ("import time\ndef make(): return Net(scale=time.time())", "settings of its modules"),
    ],
)  # fmt: skip
def test_a_factory_of_another_network_each_time_is_refused(code, said, study, tmp_path):
    write(tmp_path, net=code)

    with pytest.raises(StudyError, match=rf"another network each time: its {said}.*`weights`"):
        study().layers("net")
    torch.save({"conv.weight": torch.ones(2, 3, 1, 1), "conv.bias": torch.ones(2)}, tmp_path / "w")
    model = {"name": "net", "source": "module:net:make", "weights": "w"}
    given = TargetNetworks(models=[model], base=str(tmp_path), compute=study().compute)
    if "time" not in code:
        assert given.units("net", "conv") == 2, "its numbers are those of the file"


def test_two_studies_share_no_helpers(study, tmp_path, photos):
    rows = []
    for folder, value in (("a", 1.0), ("b", 2.0), ("a", 1.0)):
        helper(tmp_path / folder, value)
        write(
            tmp_path / folder,
            net="""
                import importlib
                def make():
                    return Net(importlib.import_module("helpers").VALUE)
            """,
            resources=f"VALUE = {value}",
            numpy="raise RuntimeError('imported')",
        )
        rows.append(
            study(tmp_path / folder).activations("net", {"conv": "auto"}, photos[:1])["conv"]
        )

    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])
    assert not {"helpers", "net"} & set(sys.modules)
    assert str(tmp_path / "a") not in sys.path
    assert "resources" in sys.modules["resources"].__name__
    assert sys.modules["resources"] is __import__("resources.targets.networks")


def test_a_users_module_named_as_one_of_ours_is_the_users(study, tmp_path):
    write(
        tmp_path,
        net="import resources\nfrom resources import VALUE\ndef make(): return Net(VALUE)",
        resources="VALUE = 4.0",
    )

    weight = study()._network("net").module.conv.weight

    assert (weight == 4.0).all()


def test_the_place_of_a_study_does_not_count(study, tmp_path):
    found = []
    for folder in ("here", "there/deep"):
        write(tmp_path / folder, net="import helpers\ndef make(): return Net(helpers.VALUE)")
        helper(tmp_path / folder, 1.0)
        json_file(tmp_path / folder, 1.0)
        found.append(study(tmp_path / folder).fingerprint("net"))

    assert found[0] == found[1]
    assert "here" not in json.dumps(found[0])


def test_no_value_of_a_variable_is_recorded(study, tmp_path, monkeypatch):
    monkeypatch.setenv("DND_TEST_VALUE", "123456789")
    write(tmp_path, net="import os\ndef make(): return Net(len(os.environ['DND_TEST_VALUE']))")

    study().layers("net")

    files = [one.read_text() for one in (tmp_path / "cards").iterdir()]
    assert any("DND_TEST_VALUE" in text for text in files)
    assert not any("123456789" in text for text in files)


def test_a_user_s_files_may_lie_in_memory():
    assert not is_system("/dev/shm/study/net.py")
    assert is_system("/dev/null")
    assert is_system("/dev/shm/venv/lib/site-packages/net.py")
    assert is_system(torch.__file__)


def test_docstrings_and_comments_do_not_count(study, tmp_path):
    write(tmp_path, net="import helpers\ndef make(): return Net(helpers.VALUE)")
    write(tmp_path, helpers='"""One."""\nVALUE = 1.0  # one')
    before = study().fingerprint("net")
    write(tmp_path, helpers='"""Another."""\nVALUE = 1.0')

    assert study().fingerprint("net") == before
