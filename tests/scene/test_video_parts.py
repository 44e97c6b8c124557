"""A video rendered in parts is the same file as one that was rendered at once."""

import pytest
import tiny

from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.scene.renders import orbit_cameras, render_path
from nerf_insert.scene.scene import Scene
from nerf_insert.scene.video_parts import join_parts, render_part


def test_parts_are_joined_to_the_same_file(scene_folder, tmp_path):
    scene, film = Scene.open(scene_folder), tmp_path / "film.mp4"
    cameras = orbit_cameras(scene, 5)
    assert render_part(scene, cameras, film, (1, 2)) == 3
    with pytest.raises(InputError, match=r"2 of the 5 frames .* \(frames 1, 3\)"):
        join_parts(scene, cameras, film)
    assert render_part(scene, cameras, film, (2, 2)) == 2
    (folder,) = film.with_name("film.mp4.parts").iterdir()
    kept = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    render_part(scene, cameras, film, (1, 2))  # a second time: nothing is rendered
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == kept
    join_parts(scene, cameras, film)
    render_path(scene, cameras, tmp_path / "whole.mp4")
    assert film.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not folder.parent.exists()


def test_frames_of_another_state_are_not_taken(scene_folder, tmp_path):
    film = tmp_path / "film.mp4"
    cameras = orbit_cameras(Scene.open(scene_folder), 2)
    render_part(Scene.open(scene_folder), cameras, film, (1, 1))
    tiny.tiny_layer(scene_folder, name="ball")
    with pytest.raises(InputError, match="2 of the 2 frames"):
        join_parts(Scene.open(scene_folder), cameras, film)
    join_parts(Scene.open(scene_folder), cameras, film, layers=False)


def test_parts_of_images_have_the_names_that_all_have(scene_folder, tmp_path):
    words = ["render", str(scene_folder), "--split", "test", "--scale", "0.2", "--out"]
    assert main([*words, str(tmp_path / "all")]) == 0
    names = sorted(file.name for file in (tmp_path / "all").iterdir())
    for k in range(1, len(names) + 1):
        assert main([*words, str(tmp_path / "parts"), "--part", f"{k}/{len(names)}"]) == 0
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == names
    assert main([*words, str(tmp_path / "none"), "--part", "99/99"]) == 2
    assert main([*words, str(tmp_path / "none"), "--join"]) == 2
