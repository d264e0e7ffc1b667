"""The scenes of Sort-of-CLEVR against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hoi_captum.errors import OptionError
from hoi_captum.zoo.scenes import COLOURS, SHAPES, SIDE, Scene, Scenes, draw_scenes

GROUND = (128, 128, 128)


def drawn(n: int, seed: int = 0) -> Scenes:
    return draw_scenes(n, torch.Generator().manual_seed(seed))


def test_objects_are_apart_inside_and_without_ties() -> None:
    for scene in drawn(500).singles():
        for asked, (x, y) in enumerate(scene.centres):
            assert 3 <= x <= 28
            assert 3 <= y <= 28
            others = [centre for other, centre in enumerate(scene.centres) if other != asked]
            assert all(max(abs(x - u), abs(y - v)) >= 8 for u, v in others)
            assert len({(x - u) ** 2 + (y - v) ** 2 for u, v in others}) == 3


def test_every_allowed_placement_is_as_likely() -> None:
    scenes = drawn(40_000)
    places = scenes.centres.float().flatten(1)
    # turning or mirroring the picture, and exchanging colours, must not matter
    assert torch.allclose(places.mean(dim=0), torch.tensor(15.5), atol=0.2)
    assert scenes.shapes.float().mean(dim=0).sub(0.5).abs().max() < 0.01
    left = (scenes.centres[..., 0] < SIDE // 2).float().mean(dim=0)
    assert left.sub(0.5).abs().max() < 0.01


def test_order_by_distance_is_that_of_plain_counting() -> None:
    scenes = drawn(200, seed=1)
    ordered = scenes.by_distance()
    for row, scene in enumerate(scenes.singles()):
        for asked, (x, y) in enumerate(scene.centres):
            others = [other for other in range(4) if other != asked]
            far = {o: (scene.centres[o][0] - x) ** 2 + (scene.centres[o][1] - y) ** 2 for o in others}
            expected = sorted(others, key=far.__getitem__)
            assert ordered[row, asked].tolist() == expected == list(scene.by_distance(asked))
            assert [scenes.distances()[row, asked, o].item() for o in others] == [far[o] for o in others]


def test_pictures_are_drawn_pixel_by_pixel() -> None:
    scene = Scene(((3, 3), (20, 5), (8, 28), (28, 20)), ("square", "circle", "circle", "square"))
    paints = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (230, 210, 50)}
    expected = np.zeros((SIDE, SIDE, 3), np.uint8) + np.array(GROUND, np.uint8)
    for i in range(SIDE):
        for j in range(SIDE):
            for (x, y), shape, colour in zip(scene.centres, scene.shapes, scene.colours, strict=True):
                inside = max(abs(j - x), abs(i - y)) <= 3
                if shape == "circle":
                    inside = (j - x) ** 2 + (i - y) ** 2 <= 3.3**2
                if inside:
                    expected[i, j] = paints[colour]
    assert np.array_equal(np.array(scene.picture), expected)
    torch.testing.assert_close(scene.image, torch.from_numpy(expected).permute(2, 0, 1).float() / 255)
    assert scene.picture.getpixel((3, 3)) == paints["red"]


def test_boxes_hold_all_of_an_object_and_nothing_else() -> None:
    for scene in drawn(50, seed=2).singles():
        pixels = np.array(scene.picture)
        painted = (pixels != GROUND).any(axis=2)
        for (x, y), (left, top, right, bottom) in zip(scene.centres, scene.boxes, strict=True):
            inside = pixels[top:bottom, left:right]
            assert inside.shape == (7, 7, 3)
            assert (inside == pixels[y, x]).all(axis=2).sum() in (49, 37)  # square, circle
            assert (pixels == pixels[y, x]).all(axis=2).sum() == (inside == pixels[y, x]).all(axis=2).sum()
            painted[top:bottom, left:right] = False
        assert not painted.any()


def test_squares_and_circles_differ_in_their_pixels() -> None:
    scenes = drawn(100, seed=3).singles()
    for scene in scenes:
        pixels = np.array(scene.picture)
        for (x, y), shape in zip(scene.centres, scene.shapes, strict=True):
            assert (pixels == pixels[y, x]).all(axis=2).sum() == {"square": 49, "circle": 37}[shape]


def test_one_seed_gives_the_same_scenes() -> None:
    one, again, other = drawn(30), drawn(30), drawn(30, seed=1)
    assert torch.equal(one.centres, again.centres)
    assert torch.equal(one.shapes, again.shapes)
    assert not torch.equal(one.centres, other.centres)


def test_scenes_and_tensors_are_the_same_thing() -> None:
    scenes = drawn(20)
    back = Scenes.of(scenes.singles())
    assert torch.equal(back.centres, scenes.centres)
    assert torch.equal(back.shapes, scenes.shapes)
    torch.testing.assert_close(torch.stack([s.image for s in scenes.singles()]), scenes.images())
    assert len(scenes) == 20
    assert scenes.repeat(2).singles() == scenes.singles() * 2


def test_a_scene_cannot_be_changed_through_its_picture() -> None:
    scene = drawn(1).singles()[0]
    scene.image.zero_()
    scene.picture.paste(0, (0, 0, SIDE, SIDE))
    assert scene.image.max() > 0.5
    assert (len(scene.colours), scene.colours, len(SHAPES)) == (4, COLOURS, 2)


def test_numbers_of_scenes() -> None:
    none = drawn(0)
    assert (len(none), none.singles(), none.images().shape) == (0, [], (0, 3, SIDE, SIDE))
    with pytest.raises(OptionError, match="-1"):
        drawn(-1)
