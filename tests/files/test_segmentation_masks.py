"""Pixel labels: the three layouts, what is set aside, what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dnd_assets.errors import NotFoundError, StudyError
from dnd_assets.files.segmentation_masks import Concept, broden, index_masks, mask_table
from dnd_assets.methods.segmentation.network_dissection import Overlaps, detectors


def write_image(path, width=4, height=2, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "grey").save(path, **options)


def write_mask(path, rows, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(rows, dtype=np.uint8)).convert(mode).save(path)


def masks_by_name(masks, image):
    concepts, found = masks.masks(image)
    assert found.dtype == np.bool_
    return {
        str(masks.concepts[concept]): mask.astype(int).tolist()
        for concept, mask in zip(concepts, found, strict=True)
    }


@pytest.fixture
def table(tmp_path):
    """Two images; the first has two masks."""
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / "images" / name)
    write_mask(tmp_path / "masks" / "a0.png", [[255, 0, 0, 0], [0, 0, 0, 0]], "1")
    write_mask(tmp_path / "masks" / "a1.png", [[0, 0, 0, 1], [0, 0, 0, 1]])
    write_mask(tmp_path / "masks" / "b.png", [[0, 255, 90, 0], [0, 0, 200, 0]])
    (tmp_path / "table.csv").write_text(
        "file,mask,caption,group\n"
        "a.jpg,a0.png,a frog,animals\n"
        "a.jpg,a1.png,a saw,\n"
        "b.jpg,b.png,a frog,animals\n"
    )
    return tmp_path


def read(folder, *columns):
    return mask_table(folder / "table.csv", folder / "images", folder / "masks", *columns)


def add_row(folder, row):
    with (folder / "table.csv").open("a") as file:
        file.write(row + "\n")


def test_a_table_of_masks(table):
    found = read(table, ["caption", "group"])

    assert list(map(str, found.concepts)) == [
        "a frog (caption)",
        "animals (group)",
        "a saw (caption)",
    ]
    assert found.set_aside == ()
    first, second = found.images
    assert first.file == table / "images" / "a.jpg"
    frog = [[1, 0, 0, 0], [0, 0, 0, 0]]
    assert masks_by_name(found, first) == {
        "a frog (caption)": frog,
        "animals (group)": frog,
        "a saw (caption)": [[0, 0, 0, 1], [0, 0, 0, 1]],
    }
    # Soft edges: on where the value is more than half of the largest.
    assert masks_by_name(found, second)["a frog (caption)"] == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert read(table).concepts == (Concept("a frog", "caption"), Concept("a saw", "caption"))


def test_several_masks_of_one_concept_are_joined(table):
    add_row(table, "a.jpg,a1.png,a frog,animals")
    found = read(table)

    assert masks_by_name(found, found.images[0])["a frog (caption)"] == [[1, 0, 0, 1], [0, 0, 0, 1]]


def test_the_form_of_the_table_does_not_matter(table):
    plain = read(table)
    text = (table / "table.csv").read_text()
    (table / "table.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

    assert read(table) == plain


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("c.jpg,b.png,x,", "image c.jpg is missing"),
        ("a.jpg,none.png,x,", "mask none.png is missing"),
        ("a.jpg,small.png,x,", "mask small.png has 1 x 1 pixels, not 4 x 2"),
        ("a.jpg,colour.png,x,", "mask colour.png has pixels of mode RGB, not one of 1, L, P"),
        ("a.jpg,torn.png,x,", "mask torn.png is damaged"),
        ("a.jpg,text.png,x,", "mask text.png cannot be read"),
        ("a.jpg,a0.png,,", "the row names no concept"),
        ("../a.jpg,a0.png,x,", "is no file inside"),
        ("a.jpg,,x,", "'' is no file inside"),
        ("a.jpg,a0.png", "the row names no concept"),
    ],
)
def test_what_cannot_be_used_is_set_aside(table, row, reason):
    before = read(table)
    write_mask(table / "masks" / "small.png", [[1]])
    write_image(table / "masks" / "colour.png")
    data = (table / "masks" / "b.png").read_bytes()
    (table / "masks" / "torn.png").write_bytes(data[:45] + b"\0\0\0" + data[48:])
    (table / "masks" / "text.png").write_text("no image")
    add_row(table, row)

    found = read(table)

    assert found.images == before.images
    assert found.concepts == before.concepts
    (aside,) = found.set_aside
    assert aside.file == row.split(",")[0]
    assert reason in aside.reason


def test_masks_fit_the_image_as_it_is_seen(table):
    exif = Image.Exif()
    exif[274] = 6
    write_image(table / "images" / "turned.jpg", 2, 4, exif=exif)
    add_row(table, "turned.jpg,b.png,x,")

    assert read(table).set_aside == ()


def test_tables_that_are_refused(table):
    with pytest.raises(
        StudyError, match=r"no column 'captoin'.*has file, mask, caption.*caption\)"
    ):
        read(table, ["captoin"])
    with pytest.raises(StudyError, match="no concept column was named"):
        read(table, [])
    with pytest.raises(NotFoundError, match=r"no table .tabel.csv.; nearest: table.csv"):
        mask_table(table / "tabel.csv", table, table)
    with pytest.raises(
        StudyError, match=r"no image with masks: 3 were set aside; the first, a.jpg"
    ):
        mask_table(table / "table.csv", table / "masks", table / "masks")
    (table / "table.csv").write_bytes(b"file,mask,caption\n\xff,b,c\n")
    with pytest.raises(StudyError, match=r"not UTF-8 .byte 0xff at offset 18"):
        read(table)
    (table / "table.csv").write_text("")
    with pytest.raises(StudyError, match="no column 'file'; it has none"):
        read(table)
    (table / "table.csv").write_text('file,mask,caption\na,b,"c')
    with pytest.raises(StudyError, match="mend the table"):
        read(table)


def test_masks_that_vanish_or_change_are_refused(table):
    found = read(table)
    write_mask(table / "masks" / "b.png", [[1]])
    with pytest.raises(StudyError, match=r"b\.png has changed its size"):
        found.masks(found.images[1])
    (table / "masks" / "b.png").unlink()
    with pytest.raises(StudyError, match="could be read before, but not now"):
        found.masks(found.images[1])


@pytest.fixture
def broden_folder(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / "images" / name, 8, 4)
    codes = np.zeros((2, 4, 3), dtype=np.uint8)
    codes[0, 0] = [44, 1, 0]  # 300
    codes[1, 3] = [2, 0, 0]
    Image.fromarray(codes).save(tmp_path / "images" / "a_object.png")
    codes[0, 0] = 0
    codes[1, 2] = [44, 1, 9]
    Image.fromarray(codes).save(tmp_path / "images" / "a_more.png")
    (tmp_path / "label.csv").write_text(
        "number,name,category,frequency,coverage,syns\n"
        "0,-,,0,0,\n"
        "2,wheel,object(3);part(1),4,0.1,\n"
        "300,car,object(7),7,0.2,\n"
        "301,street,scene,2,2,\n"
    )
    (tmp_path / "index.csv").write_text(
        "image,split,ih,iw,sh,sw,object,part,scene\n"
        "a.jpg,train,4,8,2,4,a_object.png;a_more.png,,301\n"
        "b.jpg,val,4,8,2,4,,a_object.png,\n"
        "c.jpg,val,4,8,2,4,,,301\n"
    )
    return tmp_path


def test_broden(broden_folder):
    found = broden(broden_folder)

    names = ["wheel (object)", "wheel (part)", "car (object)", "street (scene)"]
    assert list(map(str, found.concepts)) == names
    first, second = found.images
    assert masks_by_name(found, first) == {
        "wheel (object)": [[0, 0, 0, 0], [0, 0, 0, 1]],
        "car (object)": [[1, 0, 0, 0], [0, 0, 1, 0]],
        "street (scene)": [[1] * 4] * 2,
    }
    assert masks_by_name(found, second) == {"wheel (part)": [[0, 0, 0, 0], [0, 0, 0, 1]]}
    assert [aside.file for aside in found.set_aside] == ["c.jpg"]
    assert [image.file.name for image in broden(broden_folder, "train").images] == ["a.jpg"]


def test_broden_that_is_refused(broden_folder):
    with pytest.raises(NotFoundError, match="no split 'tarin'; nearest: train"):
        broden(broden_folder, "tarin")
    text = (broden_folder / "index.csv").read_text()
    (broden_folder / "index.csv").write_text(text.replace(",2,4,a_", ",2,x,a_"))
    assert "'x' x '2'" in broden(broden_folder).set_aside[0].reason
    (broden_folder / "index.csv").write_text(text.replace(",2,4,", ",2,5,"))
    with pytest.raises(StudyError, match=r"3 were set aside; .* has 4 x 2 pixels, not 5 x 2"):
        broden(broden_folder)
    (broden_folder / "label.csv").write_text("number,title\n")
    with pytest.raises(StudyError, match="no column 'name'"):
        broden(broden_folder)
    (broden_folder / "label.csv").write_text("number,name\nx,car\n")
    with pytest.raises(StudyError, match=r"entry 1: 'x' in column 'number' is no number"):
        broden(broden_folder)
    (broden_folder / "label.csv").unlink()
    with pytest.raises(NotFoundError, match=r"no table 'label.csv'; nearest: index.csv"):
        broden(broden_folder)


@pytest.fixture
def index_folder(tmp_path):
    for name in ("a.jpg", "b.png", "notes.txt"):
        write_image(tmp_path / "images" / name, format="PNG")
    write_mask(tmp_path / "masks" / "a.png", [[0, 1, 1, 7], [0, 2, 2, 255]])
    sixteen = np.array([[0, 300, 0, 0], [0, 0, 0, 2]], dtype=np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "masks" / "b.png")
    (tmp_path / "names.csv").write_text("Idx,Name\n1,wall\n2,sky\n300,door\n")
    return tmp_path


def test_index_masks(index_folder):
    found = index_masks(index_folder / "images", index_folder / "masks", index_folder / "names.csv")

    assert found.concepts == tuple(Concept(name, "object") for name in ("wall", "sky", "door"))
    first, second = found.images
    assert masks_by_name(found, first) == {
        "wall (object)": [[0, 1, 1, 0], [0, 0, 0, 0]],
        "sky (object)": [[0, 0, 0, 0], [0, 1, 1, 0]],
    }
    assert masks_by_name(found, second) == {
        "sky (object)": [[0, 0, 0, 0], [0, 0, 0, 1]],
        "door (object)": [[0, 1, 0, 0], [0, 0, 0, 0]],
    }


def test_names_as_json(index_folder):
    names = index_folder / "names.json"
    names.write_text(json.dumps({"1": "wall", "2": "sky", "300": "door"}))
    folders = index_folder / "images", index_folder / "masks"

    assert index_masks(*folders, names) == index_masks(*folders, index_folder / "names.csv")
    for text, message in (
        ("{", "is no JSON"),
        ("[]", "no object of number to name"),
        ('{"1": 2}', "no object of number to name"),
        ('{"-1": "a"}', r"'-1' in column 'index' is no number"),
        ('{"1": "a", "01": "b"}', "number 1 is 'b' here and 'a' before"),
    ):
        names.write_text(text)
        with pytest.raises(StudyError, match=message):
            index_masks(*folders, names)


def test_index_masks_that_are_refused(index_folder):
    images, masks = index_folder / "images", index_folder / "masks"

    with pytest.raises(NotFoundError, match="no folder 'mask'; nearest: masks"):
        index_masks(images, index_folder / "mask", index_folder / "names.csv")
    (masks / "a.png").unlink()
    found = index_masks(images, masks, index_folder / "names.csv")
    assert found.set_aside[0].file == "a.jpg"
    assert "mask a.png is missing" in found.set_aside[0].reason
    (index_folder / "names.csv").write_text("number,name\n1,wall\n")
    with pytest.raises(StudyError, match="no column 'index'; it has number, name"):
        index_masks(images, masks, index_folder / "names.csv")


def test_the_photographs(shared_dir):
    photos = shared_dir / "photos"
    columns = ["caption", "group"]

    found = mask_table(photos / "composites.csv", photos / "composites", photos / "masks", columns)

    assert (len(found.images), len(found.concepts), found.set_aside) == (939, 298 + 15, ())
    for image in found.images[::100]:
        concepts, masks = found.masks(image)
        assert {found.concepts[concept].category for concept in concepts} == set(columns)
        expected = np.asarray(Image.open(photos / "masks" / f"{image.file.stem}.png"))
        assert np.array_equal(masks, np.stack([expected, expected]))
        assert 0 < expected.mean() < 1


def test_a_unit_that_draws_a_mask_is_named_after_it(shared_dir):
    photos = shared_dir / "photos"
    folders = photos / "composites.csv", photos / "composites", photos / "masks"
    found = mask_table(*folders, ["group"])
    overlaps = Overlaps(torch.full((2,), 0.5), [concept.category for concept in found.concepts])

    for image in found.images[::12]:
        concepts, masks = found.masks(image)
        seen = torch.zeros(2, 56, 56)
        for concept, mask in zip(concepts, masks, strict=True):
            if concept < 2:
                seen[concept] = torch.from_numpy(mask[::4, ::4].astype(np.float32))
        overlaps.add(seen, concepts, masks)

    labels = detectors(overlaps.ious())
    assert [label.concept for label in labels] == [0, 1]
    assert min(label.iou for label in labels) > 0.8
