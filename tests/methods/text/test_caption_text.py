"""What is read of captions and answers: hand-worked cases and invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_assets.methods.dissection.candidate_concepts import (
    clean_concept,
    consensus_concepts,
    is_list,
    is_valid_concept,
)
from dnd_assets.methods.text.answer_text import answer_in, json_objects, without_special_tokens
from dnd_assets.methods.text.caption_text import caption_problem, clean_caption, read_caption
from dnd_assets.methods.text.refusals import problem_of
from dnd_assets.methods.text.words import count_words, visible, words_of

CLEANED = [
    # Phrases that say that there is a picture.
    ("The image shows a red car parked on the street.", "a red car parked on the street."),
    ("This is a picture of a cat", "a cat"),
    ("a photo of a dog", "a dog"),
    ("A close-up photo of a bee", "a bee"),
    ("It shows a snowy hill", "a snowy hill"),
    ("In this image, we can see a dog.", "a dog."),
    ("there is a dog that is laying on the beach", "a dog that is laying on the beach"),
    ("a teddy bear in the image", "a teddy bear"),
    ("L'image montre un chat", "un chat"),
    ("Das Bild zeigt einen Hund", "einen Hund"),
    ("这张图片显示了一只狗。", "一只狗。"),
    ("この画像には犬が写っています", "犬が写っています"),
    # What says something of the picture stays.
    ("a black and white photo of a dog", "a black and white photo of a dog"),
    ("a painting of a dog", "a painting of a dog"),
    ("a picture frame on a wall", "a picture frame on a wall"),
    ("a shot of tequila", "a shot of tequila"),
    ("a sign that says i'm sorry", "a sign that says i'm sorry"),
    ("yasser arafat at a desk", "yasser arafat at a desk"),
    ("a bora bora beach", "a bora bora beach"),
    ("snake_case_names on a screen", "snake_case_names on a screen"),
    # Talk.
    ('Sure! Here is a caption: "A dog on a beach"', "A dog on a beach"),
    ("Caption: a dog", "a dog"),
    ("Okay: a dog", "a dog"),
    ("a dog on the beach. Let me know if you need more.", "a dog on the beach."),
    ("a man in a suit. I'm sorry, but I can't identify him.", "a man in a suit."),
    # Markup.
    ("**A dog** on a *beach*", "A dog on a beach"),
    ("1. A dog", "A dog"),
    ("# A dog\n- on a beach", "A dog on a beach"),
    ("`a dog`", "a dog"),
    ("<b>a dog</b>", "a dog"),
    ("![a dog](https://example.org/a.png)", "a dog"),
    ('{"caption": "a dog"}', "a dog"),
    ("「海滩上的狗」", "海滩上的狗"),
    # BLIP's words that are none.
    ("arafed image of a man in a hat", "a man in a hat"),
    ("there is a araffe standing in a field", "standing in a field"),
    # Endless repeats; the paper's own example repeats twice and stays.
    ("a red red red red red car", "a red car"),
    ("a red car, a red car, a red car, a red", "a red car"),
    ("红红红红红色", "红色"),
    (
        "a red background with a red background and a red background",
        "a red background with a red background and a red background",
    ),
    # Cut off.
    ("a man in a red shirt with a", "a man in a red shirt"),
    # Special tokens and reasoning.
    ("<s> a dog</s><pad><pad>", "a dog"),
    ("[INST] describe [/INST] a dog", "a dog"),
    ("<|im_start|>assistant\na dog<|im_end|>\n<|im_start|>user\nand this?", "a dog"),
    ("<think>Okay, the user wants</think>a dog", "a dog"),
    ("a dog<0x0A>", "a dog"),
    # Characters that are not seen.
    ("\u202bكلب على الشاطئ\u202c", "كلب على الشاطئ"),
    ("a\u200b dog\x07", "a dog"),
    ("cafe\u0301 table", "café table"),
]


@pytest.mark.parametrize(("written", "read"), CLEANED)
def test_a_caption_is_read_without_what_is_no_part_of_the_picture(written, read):
    assert clean_caption(written) == read
    assert read_caption(written) == read


NOTHING = [
    ("", "no_answer"), (" \n ", "no_answer"), ("...", "no_answer"), ("。", "no_answer"),
    ("<|im_end|>", "no_answer"), ("</s>", "no_answer"), ("<pad><pad>", "no_answer"),
    ("\u200b\u202e", "no_answer"), ("[UNK] [SEP]", "no_answer"), ("N/A", "no_answer"),
    ("there is", "no_answer"), ("<think>Okay, the user wants me to", "no_answer"),
    ("analysisThe user wants a caption", "no_answer"),
    ("Okay, the user wants me to describe this picture", "no_answer"),
    ("Let me look at the picture", "no_answer"), ("I need to describe", "no_answer"),
    ("I'm sorry, but I can't help with that.", "refused"),
    ("I\u2019m unable to identify people.", "refused"),
    ("As an AI language model, I cannot see pictures.", "refused"),
    ("Sorry, I can't assist with that request", "refused"),
    ("Unfortunately, I cannot describe it.", "refused"),
    ("No image was provided.", "refused"), ("Please upload the image", "refused"),
    ("Es tut mir leid, aber ich kann das nicht.", "refused"),
    ("Lo siento, no puedo ayudar", "refused"), ("Je suis désolé, je ne peux pas", "refused"),
    ("抱歉\uff0c我无法", "refused"), ("申し訳ありませんが", "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "problem"), NOTHING)
def test_what_says_nothing_of_the_picture_is_told_apart(written, problem):
    found = caption_problem(written)
    assert found is not None
    assert found[0] == problem
    assert read_caption(written) == ""
    assert consensus_concepts([written] * 3, 5) == []


@pytest.mark.parametrize(
    "caption",
    ["a sorry sight", "sorry we're closed sign on a door", "the user interface of a phone",
     "a woman who is unable to see", "i love you card", "no parking sign", "an answer machine",
     "okay sign with a hand", "a dog", "犬", "x"],
)  # fmt: skip
def test_captions_that_only_sound_alike_are_captions(caption):
    assert caption_problem(caption) is None
    assert read_caption(caption)


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["the image shows", "a", "red", "dog", "arafed", "**", "</s>", "<think>", "</think>", "1.",
     "caption:", "狗", "\n", '"', "sorry", "there is", "photo of", "with", "_", ",", "{", "}"]
), max_size=14).map(" ".join))  # fmt: skip
def test_cleaning_twice_changes_nothing_and_never_lengthens(text):
    once = clean_caption(text)
    assert clean_caption(once) == once
    assert len(once) <= len(visible(text))


def test_a_long_caption_is_read_in_no_time():
    assert len(clean_caption("a red " * 100_000)) < 4_001
    assert len(clean_caption("<think>" * 50_000)) == 0
    assert len(clean_caption("[" * 100_000 + "{" * 1_000)) <= 4_000


@pytest.mark.parametrize(
    ("text", "answer", "reasoned", "unfinished"),
    [
        ("a dog", "a dog", False, False),
        ("<think>x</think>a dog", "a dog", True, False),
        ("x</think>\n\na dog", "a dog", True, False),
        ("<think>x</think><think>y</think>a dog", "a dog", True, False),
        ("<think>a dog", "", True, True),
        ("a dog<think>more", "a dog", True, True),
        ("[THINK]x[/THINK]a dog", "a dog", True, False),
        ("\u25c1think\u25b7x\u25c1/think\u25b7a dog", "a dog", True, False),
        ("<thinking>x</thinking><answer>a dog</answer>", "a dog", True, False),
        ("<|channel|>analysis<|message|>x<|end|>", "", True, True),
        (
            "<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>"
            "a dog<|return|>",
            "a dog", True, False,
        ),
        ("analysisThe user wants.assistantfinala dog", "a dog", True, False),
        ("analysis of a dog", "analysis of a dog", False, False),
    ],
)  # fmt: skip
def test_the_answer_is_what_stands_behind_the_reasoning(text, answer, reasoned, unfinished):
    found = answer_in(text)
    assert (found.text, found.reasoned, found.unfinished) == (answer, reasoned, unfinished)


def test_a_turn_that_the_model_made_up_goes():
    assert without_special_tokens("a dog</s> <s>[INST] and? [/INST] a cat").strip() == "a dog"
    assert without_special_tokens("a dog\nUser: and this?").strip() == "a dog"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('Sure: {"a": 1}. And {"a": 1}!', [{"a": 1}]),
        ('{"b": 2} ```json\n{"a": 1}\n```', [{"a": 1}]),
        ('{"a": 1} or {"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": {"b": 1}}', [{"a": {"b": 1}}]),
        ("no json {", []),
        ("[1]", [[1]]),
        ("{" * 10_000, []),
        ("[" * 100_000, []),
    ],
)
def test_json_is_found_among_words(text, found):
    assert json_objects(text) == found


# --- Scripts ------------------------------------------------------------------------------------

SHARED = [
    (["一只棕色的狗在海滩上奔跑", "海滩上有一只狗", "两只狗在海滩玩", "狗"], {"狗", "海滩"}),
    (["红色的汽车", "一辆红色汽车停在路边", "红色的花"], {"红色", "汽车"}),
    (["砂浜を走る茶色い犬", "犬が砂浜で遊んでいます", "砂浜にいる二匹の犬"], {"砂浜", "犬"}),
    (["赤いボール", "ボールと猫", "ボールで遊ぶ猫"], {"ボール", "猫"}),
    (["สุนัขวิ่งบนชายหาด", "สุนัขสองตัวบนชายหาด", "ชายหาดที่มีสุนัข"], {"สุนัข", "ชายหาด"}),
    (["كلب بني على الشاطئ", "كلب يركض على الشاطئ", "كلبان على الشاطئ"], {"كلب", "الشاطئ"}),
    (["a café table", "a cafe\u0301 at night", "CAFÉ"], {"café"}),
    (["कुत्ता घास पर", "भूरा कुत्ता", "कुत्ता"], {"कुत्ता"}),
    (["это собака", "собака бежит", "собака"], {"собака"}),
]


@pytest.mark.parametrize(("captions", "shared"), SHARED)
def test_what_captions_share_is_found_in_any_script(captions, shared):
    found = consensus_concepts(captions, 5)
    assert shared <= set(found)
    assert all(is_valid_concept(one) and count_words(one) <= 5 for one in found)
    assert consensus_concepts(captions[::-1], 5) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red car", 3), ("", 0), ("红色汽车", 2), ("狗", 1), ("ในทะเล", 2), ("café", 1),
        ("dog 狗狗", 2), ("हिन्दी में", 2), ("犬が走る", 2),
    ],
)  # fmt: skip
def test_words_are_counted_in_any_script(text, words):
    assert count_words(text) == words


def test_one_to_five_words_hold_in_scripts_without_spaces():
    assert is_valid_concept("红色汽车")
    assert not is_valid_concept("一只棕色的狗在海滩上奔跑而且旁边还有另外一只白色的狗在玩耍")
    assert is_valid_concept("می\u200cروم")
    assert not is_valid_concept("red\u200c circle")
    assert words_of("कुत्ता قِطّة") == ["कुत्ता", "قِطّة"]


@pytest.mark.parametrize(
    ("answer", "concept"),
    [("「红色汽车」。", "红色汽车"), ("《Rot》", "rot"), ("\uff02red\uff02", "red"),
     ("«Rouge».", "rouge"), ("كلب\u06d4", "كلب"), ("CAFE\u0301", "café")],
)  # fmt: skip
def test_quotes_and_full_stops_of_any_script_go(answer, concept):
    assert clean_concept(answer) == [concept]


def test_lists_are_known_by_commas_of_any_script():
    assert [is_list(text) for text in ("a, b", "a、b", "a\uff0cb", "أ، ب", "1,000 birds")] == [
        True, True, True, True, False,
    ]  # fmt: skip


def test_words_of_refusals_are_known_at_the_start_alone():
    assert problem_of("a man says: I'm sorry, I can't help") is None
