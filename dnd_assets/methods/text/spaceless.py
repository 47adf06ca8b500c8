"""Phrases of scripts that put no space between words, without a dictionary.

A run of such letters is cut at words that name nothing, and where the script changes. What several
captions share of the pieces stands for words: a substring that they share and that no longer one is
shared by as many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dnd_assets.methods.text.words import clusters_of

Key = tuple[str, ...]

_MOST_CLUSTERS: Final = 10
"""Clusters of a phrase: five words of two."""
_LONGEST_PIECE: Final = 60
_SCRIPTS: Final = re.compile(
    r"(?P<hiragana>[\u3041-\u309f]+)|(?P<katakana>[\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f]+)"
    r"|(?P<south_east>[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u200c\u200d]+)"
    r"|(?P<han>[^\u3041-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+)"
)
_FEWEST: Final = {"han": 1, "katakana": 2, "hiragana": 2, "south_east": 3}
"""Clusters that a word has at least, by script."""
_NUMBERED: Final = (
    "[一二两兩三四五六七八九十几幾数數]+"
    "[个個只隻条條张張位名辆輛朵头頭匹棵座片块塊件双雙群些杯碗本把幅艘架颗顆根羽人つ]"
)
_EMPTY: Final = {
    "han": re.compile(
        f"{_NUMBERED}|正在|[的了在是和与與有着著及或从從把被这這那其他她它们們于於]|^[一两兩]"
        "|(?<=..)[上里裡裏]|(?<=..)[下中內内旁边邊前后後]$"
    ),
    "katakana": re.compile("(?!)"),
    "hiragana": re.compile(
        "しています|している|されています|されている|います|いる|あります|ある|です|ます|ました"
        "|でした|して|した|する|から|まで|など|その|この|あの|という|として|ための"
        "|^[をがはにでとのへもやる]|[をがはにでとのへもやいるくたっ]$"
    ),
    "south_east": re.compile("ที่|และ|ของ|กำลัง|เป็น|อยู่|จาก|ด้วย|หรือ|บน|ใน|ภาพ|รูป|แสดง"),
}
"""What names nothing, by script: particles, counters, postpositions, endings, "picture"."""


def pieces_of(run: str) -> list[tuple[str, int]]:
    """The pieces of a run of letters that may name something.

    Args:
        run: letters of scripts written without spaces.

    Returns:
        Each piece with the clusters that a word of its script has at least.

    >>> pieces_of("一只棕色的狗在海滩上"), pieces_of("砂浜を走る犬")
    ([('棕色', 1), ('狗', 1), ('海滩', 1)], [('砂浜', 1), ('走', 1), ('犬', 1)])
    """
    pieces = []
    for match in _SCRIPTS.finditer(run):
        script = str(match.lastgroup)
        text, previous = match[0], ""
        while text != previous:  # endings are seen once what follows them is gone
            previous, text = text, _EMPTY[script].sub(" ", text).strip()
        fewest = _FEWEST[script]
        pieces += [(piece, fewest) for piece in text.split() if len(clusters_of(piece)) >= fewest]
    return pieces


def spans_of(run: str) -> dict[Key, str]:
    """All runs of clusters in the pieces of a run of letters, with how they are written.

    >>> sorted(spans_of("红花").values())
    ['红', '红花', '花']
    """
    spans: dict[Key, str] = {}
    for piece, fewest in pieces_of(run):
        clusters = clusters_of(piece)[:_LONGEST_PIECE]
        for size in range(fewest, min(len(clusters), _MOST_CLUSTERS) + 1):
            for start in range(len(clusters) - size + 1):
                key = tuple(clusters[start : start + size])
                spans.setdefault(key, "".join(key))
    return spans


def whole_pieces_of(run: str) -> set[Key]:
    """The pieces of a run of letters, each as a whole."""
    return {tuple(clusters_of(piece)) for piece, _ in pieces_of(run)}


def words_shared(counts: Mapping[Key, int], wholes: Iterable[Key]) -> set[Key]:
    """Which runs of clusters stand for words.

    Args:
        counts: captions that have each run.
        wholes: the pieces that captions have as a whole.

    Returns:
        The runs that two captions share or that are whole pieces, without those that stand in a
        longer one as often, and without single clusters that are part of a shared word alone.

    >>> words = words_shared({("海", "滩"): 3, ("海",): 3, ("滩",): 3, ("狗",): 2}, [])
    >>> sorted("".join(key) for key in words)
    ['海滩', '狗']
    """
    whole_pieces = set(wholes)
    contained = {
        part
        for key, count in counts.items()
        for part in _one_shorter(key)
        if part in counts and count >= counts[part]
    }
    shared = {key for key, count in counts.items() if count > 1 and key not in contained}
    in_words = {cluster for key in shared if len(key) > 1 for cluster in key}
    parts = {
        key for key in shared if len(key) == 1 and key[0] in in_words and key not in whole_pieces
    }
    return (shared - parts) | {
        key for key in counts if key in whole_pieces and key not in contained
    }


def _one_shorter(key: Key) -> Iterator[Key]:
    if len(key) > 1:
        yield key[1:]
        yield key[:-1]
