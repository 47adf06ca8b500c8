"""Layouts of layers: known from types, tested by a moving patch, declared, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from dnd_assets.errors import StudyError
from dnd_assets.methods.layer_axes import Layout
from dnd_assets.methods.moving_patch import Verdict
from resources.targets.declared_layout import DeclaredLayout
from resources.targets.layer_declared import layouts_of
from resources.targets.survey import look
from tests.resources import layer_nets as nets


def found(module, height=64, width=64, said=(), channels=3):
    torch.manual_seed(4)
    module.eval()
    pixels = nn.functional.interpolate(torch.randn(2, channels, 9, 9), (height, width))
    with torch.inference_mode():
        survey = look(module, module, pixels[:1], pixels[1:])
        return layouts_of(module, survey, said)


def layouts(module, *size, said=()):
    torch.manual_seed(0)
    return {path: one.layout for path, one in found(module(), *size, said=said).items()}


def test_channels_last_is_known_although_all_sides_are_equal():
    """(16, 16, 16): which axis is which, nothing but the types and the patch can tell."""
    for order, axes in {(0, 1, 2, 3): "nchw", (0, 2, 3, 1): "nhwc"}.items():
        known = layouts(lambda order=order: nets.Turned(*order))
        assert known["patches"] == Layout("nchw")
        assert known["turned"].axes == axes
        # Along the columns of maps a linear layer has no units.
        assert known["line"] == (Layout("nhwc") if axes == "nhwc" else None)


def test_columns_before_rows_are_no_map():
    known = found(nets.Turned(0, 3, 2, 1))

    assert known["line"].layout == Layout("nxxc")
    assert not known["line"].layout.places
    assert "do not follow a patch" in known["line"].reason


@pytest.mark.parametrize(("height", "width", "grid"), [(64, 64, (8, 8)), (72, 128, (9, 16))])
@pytest.mark.parametrize("first_axis", [False, True])
def test_tokens_of_an_own_transformer(height, width, grid, first_axis):
    """Named as class tokens are, the first token is one; otherwise only its place counts."""
    axes = "tnc" if first_axis else "ntc"
    for name, has_class in (("cls_token", True), ("special", False)):
        known = layouts(
            lambda name=name: nets.Tokens(1, name=name, first_axis=first_axis), height, width
        )
        for path in ("blocks", "blocks.layers.0", "blocks.layers.1.linear1"):
            assert known[path] == Layout(axes, grid, 1, has_class), (name, path)
        assert known["norm"] == Layout("ntc", grid, 1, has_class)


def test_registers_and_class_token_by_name():
    class Both(nets.Tokens):
        def __init__(self):
            super().__init__(1, name="cls_token")
            self.register_tokens = nn.Parameter(torch.randn(1, 4, nets.DIM))

        def forward(self, images):
            tokens = self.patches(images).flatten(2).transpose(1, 2)
            before = torch.cat([self.cls_token, self.register_tokens], dim=1)
            return self.norm(torch.cat([before.expand(len(images), -1, -1), tokens], dim=1))

    assert layouts(Both)["norm"] == Layout("ntc", (8, 8), 5, class_token=True)
    assert layouts(lambda: nets.Tokens(4, name="register_tokens"))["norm"] == Layout(
        "ntc", (8, 8), 4
    )


def test_tokens_after_the_patches_are_not_pooled_with_them():
    """What the one token too many is and where it stands is not known: no units at all."""
    for name in ("special", "cls_token"):
        known = found(nets.Tokens(1, name=name, last=True))
        assert known["norm"].layout is None
        assert "layout, grid, prefix_tokens" in known["norm"].reason
        assert known["patches"].layout == Layout("nchw")


@pytest.mark.parametrize("order", ["columns", "windows", "shuffled"])
def test_tokens_in_another_order_have_no_map(order):
    grid = torch.arange(64).reshape(8, 8)
    orders = {
        "columns": grid.T.flatten(),
        "windows": grid.reshape(2, 4, 2, 4).transpose(1, 2).flatten(),
        "shuffled": torch.randperm(64, generator=torch.Generator().manual_seed(1)),
    }
    known = found(nets.Ordered(orders[order]))

    for path in ("norm", "block"):
        assert known[path].layout == Layout("nxc")  # units and their means are right all the same
        assert "do not follow a patch" in known[path].reason


def test_queries_heads_frames_and_steps_are_no_units():
    known = layouts(nets.Queries)
    assert known["norm"] == Layout("nxc")
    assert known["look"] == Layout("nxc")
    heads = found(nets.Heads())
    assert heads["split"].layout is heads["mix"].layout is None
    assert "heads of attention" in heads["split"].reason
    assert "tokens by tokens" in heads["mix"].reason
    assert heads["out"].layout == Layout("ntc", (8, 8))
    frames = found(nets.Frames())
    assert frames["space"].layout == Layout("ncxxx")
    assert frames["turned"].layout is None
    rows = layouts(nets.Rows)
    assert (rows["first"], rows["second"]) == (Layout("nxc"), Layout("xnc"))


def test_a_mixer_swaps_its_axes():
    known = found(nets.Mixer())

    assert known["norm"].layout == known["channels"].layout == Layout("ntc", (8, 8))
    assert known["places.2"].layout in (None, Layout("nct", (8, 8)))
    assert known["places.0"].layout is None or known["places.0"].layout.axes != "ntc"


def test_tuples_mappings_and_whole_numbers():
    known = found(nets.Answers())

    assert known["pair"].layout == known["table"].layout == Layout("nchw")
    assert known["best"].layout is None
    assert known["best"].reason == "gives whole numbers"
    assert "none" not in known


def test_grey_pictures_are_taken():
    known = found(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), channels=1)

    assert known["1"].layout == Layout("nchw")


def turned():
    """Columns before rows, channels last."""
    return nets.Turned(0, 3, 2, 1)


def declared(module, path, **more):
    said = [DeclaredLayout(path=path, **more)]
    torch.manual_seed(0)
    return found(module(), said=said)[path].layout


def test_a_study_may_declare_what_is_not_known():
    last = lambda: nets.Tokens(1, last=True)  # noqa: E731
    assert declared(nets.Heads, "split", layout="nxtc", grid=[8, 8]) == Layout("nxtc", (8, 8))
    assert declared(nets.Frames, "turned", layout="nxchw") == Layout("nxchw")
    assert declared(last, "norm", layout="nxc") == Layout("nxc")
    assert declared(nets.Tokens, "norm", prefix_tokens=1) == Layout("ntc", (8, 8), 1)
    assert declared(nets.Tokens, "norm", layout="tokens", grid=[8, 8], prefix_tokens=1) == Layout(
        "ntc", (8, 8), 1
    )
    assert declared(nets.Queries, "norm", grid=[10, 10]).grid == (10, 10)
    assert declared(turned, "line", layout="nwhc") == Layout("nwhc")


def test_a_declaration_is_proven_where_the_patch_shows_it():
    grid = {"layout": "tokens", "grid": [8, 8], "prefix_tokens": 1}
    cases = [
        (turned, "line", {"layout": "nwhc"}, Verdict.PROVEN),
        (nets.Tokens, "norm", grid, Verdict.PROVEN),
        (nets.Queries, "norm", {"grid": [10, 10]}, Verdict.OPEN),
        (nets.Frames, "turned", {"layout": "nxchw"}, Verdict.OPEN),
    ]
    for make, path, said, verdict in cases:
        torch.manual_seed(0)
        known = found(make(), said=[DeclaredLayout(path=path, **said)])
        assert known[path].verdict is verdict, path


@pytest.mark.parametrize(
    ("module", "path", "said", "why"),
    [
        (nets.Tokens, "norm", {"layout": "nchw"}, "'nchw' names 4 axes"),
        (nets.Tokens, "patches", {"layout": "channels_last"}, "a Conv2d has its 32 channels on"),
        (nets.Tokens, "norm", {"layout": "nct"}, "a LayerNorm has its 32 channels on axis 2"),
        (nets.Tokens, "norm", {"layout": "tnc"}, "the pictures are on axis 0"),
        (nets.Tokens, "norm", {"grid": [8, 9], "prefix_tokens": 0}, "8 x 9 tokens and 0 before"),
        (nets.Tokens, "norm", {"grid": [8, 8]}, "1 more than the grid holds.*say prefix_tokens"),
        (nets.Tokens, "norm", {"prefix_tokens": 65}, "65 of 65 tokens"),
        (nets.Tokens, "patches", {"layout": "nchw", "grid": [4, 16]}, r"grid = \[4, 16\], and"),
        (nets.Tokens, "patches", {"layout": "nchw", "prefix_tokens": 1}, "without tokens"),
        (nets.Tokens, "nowhere", {"layout": "nchw"}, "gives no tensor"),
        (nets.Frames, "turned", {"grid": [8, 8]}, "`layout` has to be said too"),
        (nets.ordered, "block", {"layout": "tokens", "grid": [8, 8]}, "not in this order"),
        (turned, "line", {"layout": "nhwc"}, "not its rows and columns"),
    ],
)
def test_a_declaration_that_contradicts_what_comes_out_is_refused(module, path, said, why):
    with pytest.raises(StudyError, match=why):
        declared(module, path, **said)


# --- real families, each at a size of its own, against their own account of themselves


def timm_case(name, size, **more):
    import timm

    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, **more)
    return module.eval(), size


CASES = [
    ("vit_tiny_patch16_224", (144, 256), {"img_size": (144, 256), "depth": 1}),
    (
        "vit_tiny_patch16_224",
        (128, 96),
        {
            "img_size": (128, 96), "depth": 1, "class_token": False, "global_pool": "avg",
        },
    ),
    ("deit_tiny_distilled_patch16_224", (128, 128), {"img_size": 128, "depth": 1}),
    ("vit_small_patch16_dinov3", (128, 160), {"depth": 1}),
    ("swin_tiny_patch4_window7_224", (112, 112), {"img_size": 112, "depths": (1, 1)}),
    ("convnext_atto", (96, 64), {"depths": (1, 1, 1, 1)}),
    ("test_resnet", (96, 64), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size", "more"), CASES)
def test_families_of_timm_by_their_own_account(name, size, more):
    from benchmarks.layer_families import best_match, outputs, timm_told

    module, size = timm_case(name, size, **more)
    torch.manual_seed(1)
    pixels = nn.functional.interpolate(torch.randn(2, 3, 9, 9), size, mode="bicubic")
    with torch.inference_mode():
        known = layouts_of(module, look(module, module, pixels[:1], pixels[1:]))
        told = timm_told(module, pixels)
    values = outputs(module, lambda m, x: m(x), pixels)

    assert told
    for one in told:
        assert best_match(known, values, one)[1] == "equal"


def test_hiera_orders_its_tokens_otherwise():
    """Its own account puts them back in rows; as they come they have no map."""
    module, size = timm_case("hiera_tiny_224", (224, 224), stages=(1, 1, 1, 1))

    known = found(module, *size)

    assert known["patch_embed"].layout == Layout("ntc", (56, 56))
    assert known["blocks.0"].layout == Layout("nxc")
    inner = {p: one for p, one in known.items() if p.startswith(("blocks.0.", "blocks.1."))}
    assert [p for p, one in inner.items() if one.layout is not None and one.layout.places] == []


def test_the_same_layouts_whatever_the_picture():
    torch.manual_seed(0)
    module = nets.Tokens(2)
    first, again = ({p: one.layout for p, one in found(module).items()} for _ in range(2))

    assert first == again
    assert np.unique([str(one) for one in first.values()]).size > 1
