"""Any photo, and any number of them: `ilo recover --crop face`, pasted.png, and folders."""

import json

import numpy as np
import pandas as pd
import pytest
import skimage.data
import torch
from PIL import Image

import ilo
from ilo.cli import cropping, recover
from ilo.cli.main import main
from ilo.images import read_image
from ilo.solver.result import RoundsResult

ASTRONAUT = Image.fromarray(skimage.data.astronaut())
BOX = (178, 73, 270, 165)  # of the face, as found


@pytest.fixture(autouse=True)
def instant(monkeypatch, dcgan):
    """The generator is loaded once, and a recovery is over at once: red all over."""
    monkeypatch.setattr(ilo.generators, "load", lambda *_, **__: dcgan)
    x = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(1, 3, 64, 64).clone()
    calls = []

    def found(options, G, seen):
        calls.append((options, seen))
        one = {"images": x, "objective": torch.ones(1), "history": pd.DataFrame({"step": [0]}), "status": ["improving"]}
        return RoundsResult(**one, state={"features": x}, layer=0, rounds=(), parameters={})

    monkeypatch.setattr(recover, "_recover", found)
    return calls


@pytest.fixture
def photo(tmp_path):
    ASTRONAUT.save(tmp_path / "group.png")
    return tmp_path / "group.png"


def run(photo, *arguments):
    return main(["recover", str(photo), "--rounds", "csgm", "--quiet", *arguments])


def report(folder):
    return json.loads((folder / "report.json").read_text())


def near(box, other, pixels=8):
    return max(abs(a - b) for a, b in zip(box, other, strict=True)) <= pixels


def test_the_face_is_found_cropped_recovered_and_put_back(instant, photo, tmp_path, capsys):
    assert run(photo, "--crop", "face", "--task", "superres") == 0
    said = report(tmp_path / "group-recovered")
    assert near(said["face"], BOX)
    left, top, right, bottom = said["crop"]
    assert (right - left) == (bottom - top)
    assert said["options"]["crop"] == "face"
    assert f"crop: {left},{top},{right},{bottom}" in capsys.readouterr().out
    (_, seen) = instant[0]
    assert torch.equal(seen.truth, read_image(photo, size=64, crop=(left, top, right, bottom)))
    before, after = read_image(photo), read_image(tmp_path / "group-recovered" / "pasted.png")
    outside = torch.ones(512, 512, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(after[..., outside], before[..., outside]), "8-bit values far from the crop are the photo's"
    middle = after[..., (top + bottom) // 2, (left + right) // 2]
    assert middle[0].tolist() == [1, -1, -1]


@pytest.mark.parametrize(("task", "there"), [("inpaint", True), ("superres", True), ("denoise", False)])
def test_inpainting_and_super_resolution_are_put_back(photo, tmp_path, task, there):
    assert run(photo, "--crop", "100,20,340,260", "--task", task) == 0
    assert (tmp_path / "group-recovered" / "pasted.png").exists() == there
    assert run(photo, "--task", task) == 0
    assert not (tmp_path / "group-recovered" / "pasted.png").exists(), "without a crop there is nothing to put it into"


def two_faces(tmp_path):
    both = Image.new("RGB", (820, 512), "white")
    both.paste(ASTRONAUT.crop((0, 0, 400, 512)), (0, 0))
    both.paste(ASTRONAUT.crop((50, 0, 400, 400)).resize((420, 480)), (400, 10))
    both.save(tmp_path / "two.png")
    return tmp_path / "two.png"


def test_several_faces_are_listed_and_one_is_taken_when_told(tmp_path, capsys):
    photo, out = two_faces(tmp_path), tmp_path / "two-recovered"
    assert run(photo, "--crop", "face") == 2
    error = capsys.readouterr().err
    assert error.startswith("ilo: 2 faces were found in")
    assert error.count("\n") == 1
    boxes = [
        tuple(map(int, part.strip().split(",")))
        for part in error.split("boxes: ")[1].replace(";", ":").split(":")[1::2]
    ]
    assert boxes[0][2] - boxes[0][0] > boxes[1][2] - boxes[1][0]
    assert not out.exists()
    taken = {}
    for number in (1, 2):
        assert run(photo, "--crop", f"face:{number}") == 0
        taken[number] = report(out)["face"]
    assert [tuple(taken[1]), tuple(taken[2])] == boxes[:2]
    assert taken[1][0] > 400 > taken[2][0]
    assert run(photo, "--crop", "face:99") == 2
    assert "--crop face:99" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["flat", "upside down", "tiny"])
def test_no_face_is_a_sentence_before_the_generator_is_loaded(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr(ilo.generators, "load", lambda *a, **k: pytest.fail("the generator was loaded"))
    made = {
        "flat": Image.new("RGB", (300, 200), "grey"),
        "upside down": ASTRONAUT.crop((100, 0, 350, 250)).rotate(180),
        "tiny": ASTRONAUT.resize((16, 16)),
    }
    made[kind].save(tmp_path / "none.png")
    assert run(tmp_path / "none.png", "--crop", "face") == 2
    error = capsys.readouterr().err
    assert "no face was found in" in error
    assert "--crop LEFT,TOP,RIGHT,BOTTOM" in error
    assert not (tmp_path / "none-recovered").exists()


def test_a_face_at_the_border_is_cropped_inside_and_said_to_be_off(tmp_path, capsys):
    ASTRONAUT.crop((172, 60, 400, 400)).save(tmp_path / "border.png")
    assert run(tmp_path / "border.png", "--crop", "face") == 0
    assert report(tmp_path / "border-recovered")["crop"][0] == 0
    assert "lies at the border" in capsys.readouterr().err
    ASTRONAUT.save(tmp_path / "inside.png")
    assert run(tmp_path / "inside.png", "--crop", "face") == 0
    assert "border" not in capsys.readouterr().err


def test_grey_transparent_and_turned_photos_are_the_same_face(tmp_path, photo):
    ASTRONAUT.convert("L").save(tmp_path / "grey.png")
    alpha = ASTRONAUT.convert("RGBA")
    alpha.putalpha(Image.fromarray(np.where(np.arange(512)[:, None] > 400, 0, 255).astype(np.uint8).repeat(512, 1)))
    alpha.save(tmp_path / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by whoever shows it
    ASTRONAUT.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=98)
    for name in ("grey.png", "alpha.png", "turned.jpg"):
        assert run(tmp_path / name, "--crop", "face") == 0
        folder = tmp_path / f"{name.split('.')[0]}-recovered"
        assert near(report(folder)["face"], BOX, 12), name
        whole = read_image(folder / "pasted.png")
        upright = read_image(tmp_path / name)
        assert torch.equal(whole[..., 300:, :], upright[..., 300:, :]), f"{name}: upright, and else unchanged"
    with Image.open(tmp_path / "turned-recovered" / "pasted.png") as pasted:
        assert pasted.getexif().get(0x0112, 1) == 1, "it is turned already"


def test_tiny_and_huge_photos(tmp_path, capsys):
    for name, side in {"tiny": 160, "huge": 2600}.items():
        ASTRONAUT.resize((side, side), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.png")
        assert run(tmp_path / f"{name}.png", "--crop", "face") == 0
        assert near(report(tmp_path / f"{name}-recovered")["face"], [n * side / 512 for n in BOX], side / 40)
        assert ("pixels wide, and will be enlarged" in capsys.readouterr().err) == (name == "tiny")
        with Image.open(tmp_path / f"{name}-recovered" / "pasted.png") as pasted:
            assert pasted.size == (side, side)


def test_a_mask_leaves_what_was_seen(photo, tmp_path):
    mask = np.full((512, 512), 255, np.uint8)
    mask[100:120, 200:240] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert run(photo, "--crop", "face", "--mask", str(tmp_path / "mask.png")) == 0
    before, after = read_image(photo), read_image(tmp_path / "group-recovered" / "pasted.png")
    assert after[0, :, 110, 220].tolist() == [1, -1, -1]
    assert torch.equal(after[..., :80, :], before[..., :80, :])
    assert torch.equal(after[..., 140:, :], before[..., 140:, :])


def test_a_face_in_a_photo_may_be_the_measurements(instant, photo):
    assert run(photo, "--crop", "face", "--task", "colourise", "--measured") == 0
    (_, seen) = instant[0]
    assert seen.y.shape == (1, 1, 64, 64)


def test_a_generator_of_no_faces_cannot_frame_one(photo, capsys, monkeypatch):
    monkeypatch.setattr(cropping, "framing_of", lambda G: (_ for _ in ()).throw(ValueError("makes no faces")))
    assert run(photo, "--crop", "face") == 2
    assert "makes no faces" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["faces", "face:0", "face:x", "1,2,3", "face:-1"])
def test_a_wrong_crop_is_one_line(photo, capsys, word):
    with pytest.raises(SystemExit):
        run(photo, "--crop", word)
    assert "expected LEFT,TOP,RIGHT,BOTTOM, face or face:N" in capsys.readouterr().err


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    ASTRONAUT.save(folder / "a.png")
    ASTRONAUT.resize((256, 256)).save(folder / "b.jpg")
    ASTRONAUT.crop((50, 0, 400, 350)).save(folder / "b.png")
    Image.new("RGB", (200, 200), "grey").save(folder / "c.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_a_folder_is_recovered_into_one_table(instant, album, tmp_path, capsys):
    assert run(album, "--crop", "face", "--out", str(tmp_path / "out")) == 1
    table = pd.read_csv(tmp_path / "out" / "photos.csv").set_index("photo")
    assert list(table.index) == ["a.png", "b.jpg", "b.png", "c.png"]
    assert table["status"].tolist() == ["improving"] * 3 + ["failed"]
    assert "no face was found" in table.loc["c.png", "error"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a", "b.jpg", "b.png", "photos.csv"}
    assert table.loc["a.png", "psnr"] == pytest.approx(report(tmp_path / "out" / "a")["psnr"])
    assert json.loads(table.loc["a.png", "face"]) == report(tmp_path / "out" / "a")["face"]
    assert "3 of 4 photos recovered" in capsys.readouterr().out
    assert len(instant) == 3


def test_what_was_recovered_is_not_recovered_again(instant, album, tmp_path):
    (album / "c.png").unlink()
    assert run(album, "--crop", "face") == 0
    first = pd.read_csv(tmp_path / "album-recovered" / "photos.csv")
    assert len(instant) == 3
    assert run(album, "--crop", "face") == 0
    assert len(instant) == 3
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "album-recovered" / "photos.csv"), first)
    (tmp_path / "album-recovered" / "a" / "report.json").unlink()
    for left in (tmp_path / "album-recovered" / "a").iterdir():
        left.unlink()
    assert run(album, "--crop", "face") == 0
    assert [options.photo.name for options, _ in instant[3:]] == ["a.png"], "what is missing is"
    ASTRONAUT.rotate(2).save(album / "a.png")
    assert run(album, "--crop", "face") == 0
    assert [options.photo.name for options, _ in instant[4:]] == ["a.png"], "and so is a photo that changed"
    assert run(album, "--crop", "face", "--seed", "1") == 0
    assert len(instant) == 8, "and all of them with other options"


def test_an_interrupted_folder_goes_on(instant, album, tmp_path, monkeypatch):
    quick = recover._recover

    def interrupted(options, G, seen):
        if options.photo.name == "b.jpg":
            raise KeyboardInterrupt
        return quick(options, G, seen)

    monkeypatch.setattr(recover, "_recover", interrupted)
    assert run(album, "--out", str(tmp_path / "o")) == 130
    assert pd.read_csv(tmp_path / "o" / "photos.csv")["photo"].tolist() == ["a.png"]
    monkeypatch.setattr(recover, "_recover", quick)
    assert run(album, "--out", str(tmp_path / "o")) == 0
    assert [options.photo.name for options, _ in instant] == ["a.png", "b.jpg", "b.png", "c.png"]


def test_a_folder_without_photos_and_one_that_is_a_file_are_refused(album, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 2
    assert "no image files" in capsys.readouterr().err
    assert run(album, "--out", str(album / "a.png")) == 2
    assert "is a file" in capsys.readouterr().err
