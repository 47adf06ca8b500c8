"""Bad input ends in a typed status for that unit alone; all other units finish."""

import json
import time

import numpy as np
import pytest
from PIL import Image
from werkzeug import Response

from dnd_assets.errors import NotFoundError, StudyError
from tests.resources import tiny
from tests.studies import changed, label, statuses

UNIT = "net/colours/0"
OTHERS = ("net/colours/1", "net/colours/2")


def test_unreadable_images_are_set_aside_and_the_rest_is_labelled(colour_folder, colours, labelled):
    images = colour_folder / "images"
    whole = (images / "000.png").read_bytes()
    (images / "corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    (images / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (images / "empty.jpg").write_bytes(b"")
    (images / "text.jpeg").write_text("hello")
    Image.new("1", (20_000, 20_000)).save(images / "huge.png")
    found = label(colours, colour_folder)
    _, plain = labelled
    assert statuses(found) == statuses(plain)
    assert _labels(found) == _labels(plain)


def test_every_kind_of_sound_image_goes_through(colour_folder, colours):
    images = colour_folder / "images"
    picture = Image.open(images / "000.png").resize((40, 24))
    gray = (np.arange(40 * 24).reshape(24, 40) * 60).astype(np.uint16)
    Image.fromarray(gray).save(images / "sixteen.png")
    picture.convert("CMYK").save(images / "cmyk.jpg")
    picture.convert("P").save(images / "palette.gif")
    picture.convert("RGBA").save(images / "rgba.png")
    picture.save(images / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(images / "turned.jpg", exif=exif)
    found = label(colours, colour_folder, ["net/spoilt"], last="captions")
    summary = found["activations", "net/spoilt/0"].product.outcome.notes["summary"]
    assert summary["images"] == 18 + 6


def test_an_empty_folder_and_a_missing_one_are_named(colour_folder, colours):
    (colour_folder / "nothing").mkdir()
    with pytest.raises(StudyError, match="nothing holds no image file"):
        label(changed(colours, probing_set__folders=["nothing"]), colour_folder)
    with pytest.raises(StudyError, match=r"no folder .*imagez.*images"):
        label(changed(colours, probing_set__folders=["imagez"]), colour_folder)


def test_wrong_names_fail_fast_with_the_nearest(colour_folder, colours, labelled):
    wrong = changed(colours)
    wrong["models"][0]["layers"] = [{"path": "colour"}]
    started = time.monotonic()
    with pytest.raises(NotFoundError, match="'colour'; nearest: colours"):
        label(wrong, colour_folder)
    wrong["models"][0]["layers"] = [{"path": "colours", "neurons": [4]}]
    with pytest.raises(StudyError, match="no neuron 4; it has 4, numbered 0 to 3"):
        label(wrong, colour_folder)
    assert time.monotonic() - started < 2


def test_a_silent_captioner_leaves_a_typed_status(colour_folder, colours, tmp_path_factory):
    silent = tiny.silent_blip(tmp_path_factory.mktemp("silent") / "blip")
    table = changed(colours, captioner__checkpoint=str(silent), captioner__min_length=1)
    found = label(table, colour_folder, ["net/colours"])
    assert statuses(found) == {
        UNIT: "no_captions",
        **dict.fromkeys(OTHERS, "no_captions"),
        "net/colours/3": "dead",
    }
    captions = found["captions", UNIT].product.payload["captions"]
    assert [entry["caption"] for entry in captions] == [""] * 5, "kept as they came"


def _chat(httpserver, colours):
    return changed(
        colours,
        summariser__kind="chat",
        summariser__base_url=httpserver.url_for("/v1"),
        summariser__api_key_env="",
        summariser__max_retries=0,
        summariser__timeout_s=10,
    )


def _answer(text):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage,
    }
    return Response(json.dumps(body), content_type="application/json")


def _good(request):
    """A sound answer to either request: short concepts, or one label for all."""
    schema = request["response_format"]["json_schema"]["schema"]
    if "concepts" in schema["properties"]:
        captions = json.loads(request["messages"][2]["content"].splitlines()[-1])
        return _answer(json.dumps({"concepts": [f"thing {i}" for i in range(len(captions))]}))
    return _answer(json.dumps({"concept": "shared thing"}))


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (lambda: _answer("Well, these pictures mostly show a dog, I think."), "invalid_response"),
        (lambda: _answer(json.dumps({"concepts": []})), "no_concepts"),
        (lambda: Response(b"x" * 10_500_000, content_type="application/json"), "invalid_response"),
        (lambda: Response("down", status=500), "service_error"),
    ],
    ids=["prose", "empty list", "10 MB", "HTTP 500"],
)
def test_a_bad_answer_fails_its_unit_alone(
    httpserver, colour_folder, colours, labelled, bad, status
):
    _, plain = labelled
    entries = plain["captions", UNIT].product.payload["captions"]
    captions = [entry.get("read", entry["caption"]) for entry in entries if entry["caption"]]

    def handle(request):
        body = request.get_json()
        mine = any(json.dumps(captions) in turn["content"] for turn in body["messages"])
        return bad() if mine else _good(body)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handle)
    found = label(_chat(httpserver, colours), colour_folder, ["net/colours"])
    assert statuses(found) == {
        UNIT: status,
        **dict.fromkeys(OTHERS, "ok"),
        "net/colours/3": "dead",
    }
    product = found["labels", UNIT].product
    assert product.payload == {}
    assert product.outcome.reason
    assert _labels(found)[OTHERS[0]] == "shared thing"


def test_a_service_that_failed_is_asked_again(httpserver, colour_folder, colours):
    down = True

    def handle(request):
        return Response("down", status=500) if down else _good(request.get_json())

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handle)
    table = _chat(httpserver, colours)
    first = label(table, colour_folder, ["net/colours/1"])
    assert statuses(first) == {"net/colours/1": "service_error"}
    down = False
    second = label(table, colour_folder, ["net/colours/1"], run="second")
    assert statuses(second) == {"net/colours/1": "ok"}
    calls = len(httpserver.log)
    third = label(table, colour_folder, ["net/colours/1"], run="third")
    assert len(httpserver.log) == calls, "a stored answer is not asked for again"
    assert _labels(third) == _labels(second)


def _labels(found):
    return {
        key: one.product.payload.get("label")
        for (asset, key), one in found.items()
        if asset == "labels"
    }
