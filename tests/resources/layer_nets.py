"""Small networks whose layers are laid out in many ways, for `module:` sources and alone."""

import torch
from torch import nn
from torchvision.transforms import v2

SIDE = 64
DIM = 32


def transforms():
    return v2.Compose([v2.Resize((64, 64)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


class Reordered(nn.Module):
    """A module of no known type that hands its input on in another order of axes, or doubled."""

    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, values):
        return values.permute(self.order) * 2


class Tokens(nn.Module):
    """A transformer of its user's own: 8 x 8 patches, tokens of an unusual name before or after."""

    def __init__(self, extra=1, *, name="special", last=False, first_axis=False):
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, 8, 8)
        setattr(self, name, nn.Parameter(torch.randn(1, extra, DIM)))
        self.name, self.last, self.first_axis = name, last, first_axis
        layer = nn.TransformerEncoderLayer(DIM, 4, 64, batch_first=not first_axis, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        extra = getattr(self, self.name).expand(len(images), -1, -1)
        tokens = torch.cat([tokens, extra] if self.last else [extra, tokens], dim=1)
        if self.first_axis:
            return self.norm(self.blocks(tokens.transpose(0, 1)).transpose(0, 1))
        return self.norm(self.blocks(tokens))


class Ordered(nn.Module):
    """Patches as tokens in another order than row by row."""

    def __init__(self, order):
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, 8, 8)
        self.norm = nn.LayerNorm(DIM)
        self.block = nn.Linear(DIM, DIM)
        self.register_buffer("order", order)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)[:, self.order]
        return tokens + self.block(self.norm(tokens))


class Queries(nn.Module):
    """A hundred queries, a number that is a square, that look at the patches."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 100, 8))
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.look = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(images), -1, -1)
        return self.norm(self.look(queries, patches, patches)[0])


class Heads(nn.Module):
    """Attention written out: heads, and weights of tokens by tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, 8, 8)
        self.split = nn.LayerNorm(8)
        self.mix = nn.Conv2d(4, 4, 1)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        heads = self.split(tokens.unflatten(2, (4, 8)).transpose(1, 2))
        weights = self.mix(heads @ heads.transpose(2, 3)).softmax(-1)
        return self.out((weights @ heads).transpose(1, 2).flatten(2))


class Mixer(nn.Module):
    """Channels and places change their axes, as in MLP-Mixer."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, 8, 8)
        self.norm = nn.LayerNorm(DIM)
        self.places = nn.Sequential(nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 64))
        self.channels = nn.Linear(DIM, DIM)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        swapped = self.norm(tokens).transpose(1, 2)
        tokens = tokens + (swapped + 0.1 * self.places(swapped)).transpose(1, 2)
        return self.channels(tokens)


class Frames(nn.Module):
    """A still picture as four frames of a film."""

    def __init__(self):
        super().__init__()
        self.space = nn.Conv3d(3, 8, (2, 8, 8), (2, 8, 8))
        self.turned = Reordered(0, 2, 1, 3, 4)

    def forward(self, images):
        return self.turned(self.space(images[:, :, None].repeat(1, 1, 4, 1, 1)))


class Rows(nn.Module):
    """A picture read row by row: rows are steps of time."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.first = nn.LSTM(64, 12, batch_first=True)
        self.second = nn.LSTM(12, 6)

    def forward(self, images):
        rows = self.patches(images).permute(0, 2, 1, 3).flatten(2)
        return self.second(self.first(rows)[0].transpose(0, 1))[0]


class Answers(nn.Module):
    """Gives a tuple, a mapping, or numbers that are no activations."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.pair = Wrapped(lambda maps: (maps, None))
        self.table = Wrapped(lambda pair: {"maps": pair[0] + 1})
        self.best = Wrapped(lambda table: table["maps"].argmax(dim=1))
        self.none = Wrapped(lambda best: None)

    def forward(self, images):
        self.none(self.best(self.table(self.pair(self.patches(images)))))
        return images.mean(dim=(2, 3))


class Wrapped(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, given):
        return self.change(given)


class Turned(nn.Module):
    """Maps with as many channels as rows and columns, in any order of axes."""

    def __init__(self, *order):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.turned = Reordered(*order)
        self.line = nn.Linear(16, 16)

    def forward(self, images):
        return self.line(self.turned(self.patches(images)))


class Random(nn.Module):
    """Other activations each time; `how` names the cause."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(8, track_running_stats=how != "company")
        self.last = nn.Identity()
        self.memory = 0.0
        if how == "masked":
            self.mask_ratio = 0.5

    def train(self, mode=True):
        if self.how != "training":
            return super().train(mode)
        self.training = mode  # and not that of its modules
        return self

    def forward(self, images):
        maps = self.drop(self.patches(images))
        if self.how == "company":
            maps = self.norm(maps)
        if self.how == "dropout":
            maps = nn.functional.dropout(maps, 0.5, training=True)
        if self.how == "noise":
            maps = maps + 0.01 * torch.randn(1)
        if self.how == "masked":
            maps = maps * (torch.rand(len(maps), 1, *maps.shape[2:]) > self.mask_ratio)
        if self.how == "memory":
            self.memory = 0.9 * self.memory + 0.1 * float(maps.mean())
            maps = maps - self.memory
        return self.last(maps)


class Rare(nn.Module):
    """Random in one pass of four."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)

    def forward(self, images):
        return self.patches(images) * (1 + (torch.rand(()) > 0.6).float())


class AnySize(nn.Module):
    """Its transform below gives pictures of any shape."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, images):
        maps = self.patches(images)
        self.norm(maps.flatten(2).transpose(1, 2))
        return maps


class Growing(nn.Module):
    """Gives one token more for bright pictures."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.tokens = Wrapped(lambda tokens: tokens)
        self.norm = nn.LayerNorm(8)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if images.min() > 0.9:
            tokens = torch.cat([tokens, tokens[:, :1]], dim=1)
        return self.norm(tokens)


def tokens():
    return Tokens()


def ordered():
    return Ordered(torch.arange(64).reshape(8, 8).T.flatten())


def growing():
    return Growing()


def masked():
    return Random("masked")


def queries():
    return Queries()


def any_size():
    return AnySize()
