"""How some of a caption's words read together: "large on grass" of "a large red ring on grass"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dnd_assets.methods.dissection.candidate_concepts import commonest, content_words
from dnd_assets.methods.text.caption_text import read_caption
from dnd_assets.methods.text.words import words_of

Words = frozenset[str]
_LOOKED_AT = 20
"""So many captions that have all words are read at most."""


def shortened(caption: str, content: Words) -> str:
    """A caption with nothing but some content words, and the small words right before each.

    Args:
        caption: a caption.
        content: content words in singular.

    Returns:
        The words as they are written, without small words at the start.

    >>> shortened("two large red rings on grass", frozenset({"large", "grass"}))
    'large on grass'
    """
    written = {form: singular for singular, form in content_words(caption)}
    phrase: list[str] = []
    small: list[str] = []
    for word in words_of(read_caption(caption).lower()):
        if word not in written:
            small.append(word)
            continue
        if written[word] in content:
            phrase += [*(small if phrase else ()), word]
        small = []
    return " ".join(phrase)


class Readings(Mapping[Words, str]):
    """How sets of content words read: as captions have them, or as captions shortened to them.

    Looked up as the mapping of phrases that it is made from, to which it adds sets of words that
    never stand side by side.
    """

    def __init__(
        self, phrases: Mapping[Words, str], captions: Sequence[str], words: Sequence[Words]
    ) -> None:
        """Take phrases as captions have them, the captions, and the content words of each."""
        self._texts = dict(phrases)
        self._captions = captions
        self._places: dict[str, list[int]] = {}
        for place, caption_words in enumerate(words):
            for word in caption_words:
                self._places.setdefault(word, []).append(place)

    def __getitem__(self, words: Words) -> str:
        """How the words read; KeyError where no caption has them all."""
        if words not in self._texts:
            self._texts[words] = self._shortened(words)
        if not self._texts[words]:
            raise KeyError(words)
        return self._texts[words]

    def _shortened(self, words: Words) -> str:
        place_sets = [set(self._places.get(word, ())) for word in sorted(words)]
        places = sorted(set.intersection(*place_sets))[:_LOOKED_AT] if place_sets else []
        texts = Counter(shortened(self._captions[place], words) for place in places)
        return commonest(texts) if texts else ""

    def __iter__(self) -> Iterator[Words]:
        """The sets that captions have as phrases, and those looked up so far."""
        return (words for words, text in self._texts.items() if text)

    def __len__(self) -> int:
        """How many sets `__iter__` gives."""
        return sum(map(bool, self._texts.values()))
