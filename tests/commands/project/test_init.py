"""`birdcache init` writes a params.yaml that fits the data and passes the schema."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import timm
from safetensors.torch import save_file

from birdcache import cli
from birdcache.errors import PipelineError
from birdcache.params import load as params
from commands.project import step_cost
from commands.project.data_facts import annotation_facts, birdclef_facts
from tests.birdcache.audio.formats.test_wav import PCM, chunk, form, riff
from tests.fixtures import tiny

SHIPPED = tiny.ROOT / "params.yaml"


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new clone with the shipped params.yaml as the current directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SHIPPED, "params.yaml")
    commit_params()
    monkeypatch.setattr(step_cost, "cost_lines", lambda params, recordings: ["cost of a step"])  # takes seconds


def commit_params() -> None:
    for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], check=True)


def test_the_shipped_params_are_those_of_the_demo() -> None:
    cli.main(["init", "--demo"])
    assert Path("params.yaml").read_bytes() == SHIPPED.read_bytes()
    assert not Path("params.yaml.bak").exists()


@pytest.mark.parametrize("in_git", [True, False])
def test_the_demo_comes_back_and_other_data_gets_the_same_params_again(in_git: bool) -> None:
    if not in_git:
        shutil.rmtree(".git")
    written = []
    for counts in ({"a": 4, "b": 3}, {"a": 3000, "nocall": 30}, {"a": 4, "b": 3}):
        write_table(counts)
        cli.main(["init", "--birdclef", "."])
        written.append(Path("params.yaml").read_bytes())
        if in_git:
            commit_params()
        cli.main(["init", "--demo"])
        assert Path("params.yaml").read_bytes() == SHIPPED.read_bytes()
    assert written[0] == written[2] != written[1]


def test_other_data_keeps_what_was_changed_for_the_demo() -> None:
    content = SHIPPED.read_text().replace("save_every_s: 300", "save_every_s: 42")
    Path("params.yaml").write_text(content)
    write_table({"a": 4, "b": 3})
    cli.main(["init", "--birdclef", "."])
    assert params.load().machine.save_every_s == 42
    assert Path("params.yaml.bak").read_text() == content


def test_members_and_rungs_of_other_views_may_be_gone() -> None:
    content = SHIPPED.read_text()
    kept, _, rest = content.partition("  pcen:\n    view: pcen")
    rest = (
        rest[rest.index("\nladder:") :].replace("    long: {<<", "    # long: {<<").replace("winner, long]", "winner]")
    )
    Path("params.yaml").write_text(kept + rest)
    assert list(params.load().members) == ["base"]
    write_table({"a": 4, "b": 3})
    cli.main(["init", "--birdclef", "."])
    assert list(params.load().views) == ["mel"]


def test_a_name_that_init_needs_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    content = SHIPPED.read_text().replace("  base:\n    view", "  mine:\n    view")
    Path("params.yaml").write_text(content)
    write_table({"a": 4, "b": 3})
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", "--birdclef", "."])
    assert "params.yaml: 'base' has been removed from the demo's parameters" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == content


@pytest.mark.parametrize("content", [None, "mine", "a: [", "demo: {}\n"])
def test_a_folder_without_the_demos_params_is_told_where_they_are(
    content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").unlink()
    shutil.rmtree(".git")
    if content is not None:
        Path("params.yaml").write_text(content)
    for arguments in (["--demo"], ["--birdclef", "."]):
        write_table({"a": 4, "b": 3})
        with pytest.raises(SystemExit, match="1"):
            cli.main(["init", *arguments])
        assert "copy params.yaml from a new clone of birdcache" in capsys.readouterr().err


def test_birdclef_layout_brings_its_soundscapes_and_truth(tmp_path: Path) -> None:
    tiny.write_data(tmp_path / "chorus")
    cli.main(["init", "--birdclef", "chorus"])
    loaded = params.load()
    assert loaded.demo == {}
    assert (loaded.data.root, loaded.data.layout, loaded.data.soundscapes) == ("chorus", "birdclef", "test_soundscapes")
    assert loaded.data.soundscape_truth == "test_soundscapes_labels.csv"
    assert loaded.folds.train == list(range(5))
    assert loaded.members["base"].pretrained is False
    assert "# samples between frames" in (tmp_path / "params.yaml").read_text(), "comments stay"


def test_all_folders_of_soundscapes_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_data(tmp_path / "chorus")
    shutil.copytree(tmp_path / "chorus/test_soundscapes", tmp_path / "chorus/unlabeled_soundscapes")
    (tmp_path / "chorus/unlabeled_soundscapes/dawn.ogg").rename(tmp_path / "chorus/unlabeled_soundscapes/dusk.ogg")
    cli.main(["init", "--birdclef", "chorus"])
    data = params.load().data
    assert data.soundscapes == ["test_soundscapes", "unlabeled_soundscapes"]
    assert (data.soundscape_truth, data.soundscape_labels) == ("test_soundscapes_labels.csv", None)
    told = "test_soundscapes, unlabeled_soundscapes: 2 soundscapes, 1 of them in a table of windows"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("serials", "share", "gain_in", "said"),
    [
        (("24F319055FDF2902", "24F3190361CCF5A3"), 0.1, "windows", "windows at 2 sites teach (one clip in 10)"),
        (
            ("24F319055FDF2902", "24F319055FDF2902"),
            0.0,
            "out_of_fold",
            "windows at 1 site examine, but do not teach",
        ),
        (("", ""), 0.0, "out_of_fold", "windows at 0 sites examine, but do not teach"),
    ],
)
def test_recorders_of_cards_in_one_folder_are_sites_by_their_numbers_in_the_headers(
    serials: tuple[str, str], share: float, gain_in: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_data(Path("chorus"))
    for path in Path("chorus").glob("test_soundscapes*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    rows = ["filename,start,end,primary_label"]
    for hour, serial in enumerate(serials):
        name = f"20190904_0{hour}2000.WAV"
        write_card(Path("chorus/train_soundscapes") / name, hour, serial)
        rows += [f"{name},0,5,lowton"]
    Path("chorus/train_soundscapes_labels.csv").write_text("\n".join(rows))
    write_card(Path("chorus/train_soundscapes/20190905_052000.WAV"), 5, "24F319055FDF2902")
    cli.main(["init", "--birdclef", "chorus"])
    shown, loaded = capsys.readouterr().out, params.load()
    assert f"train_soundscapes_labels.csv: {said}" in shown
    assert "3 soundscapes, 2 of them in a table of windows; 1 without can teach a noisy student" in shown
    assert {recipe.sampling.shares.soundscapes for recipe in loaded.train.values()} == {share}
    assert loaded.student.gain_in == gain_in


def write_card(path: Path, hour: int, serial: str) -> None:
    """Two hundredths of a second as an AudioMoth writes them; without a serial no comment."""
    said = f"Recorded at 0{hour}:20:00 04/09/2019 (UTC) by AudioMoth {serial} at gain setting 2.".encode()
    header = chunk(b"LIST", b"INFO" + chunk(b"ICMT", said.ljust(384, b"\0"))) if serial else b""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(riff(form(), header, chunk(b"data", PCM)))


def test_a_table_of_windows_whose_soundscapes_are_not_there_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_data(tmp_path / "chorus")
    (tmp_path / "chorus/test_soundscapes/dawn.ogg").rename(tmp_path / "chorus/test_soundscapes/dusk.ogg")
    cli.main(["init", "--birdclef", "chorus"])
    assert params.load().data.soundscape_truth is None
    told = "test_soundscapes_labels.csv: 4 windows of 1 soundscape; is left out, since none is there"
    assert told in capsys.readouterr().out


def test_ready_folds_are_used(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("primary_label,filename,fold\na,a/1.ogg,1\na,a/2.ogg,2\nb,b/1.ogg,3\n")
    cli.main(["init", "--birdclef", "."])
    assert params.load().folds.train == [0, 1, 2]


def test_weights_near_the_data_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_data(tmp_path / "shared/data/chorus")
    weights = tmp_path / "shared/weights/test_efficientnet.safetensors"
    weights.parent.mkdir()
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    (tmp_path / "main").mkdir()
    Path("params.yaml").rename("main/params.yaml")
    monkeypatch.chdir(tmp_path / "main")
    cli.main(["init", "--birdclef", "../shared/data/chorus"])
    member = params.load().members["base"]
    assert (member.backbone, member.pretrained) == (weights.stem, "../shared/weights/test_efficientnet.safetensors")
    cli.main(["init", "--birdclef", "../shared/data/chorus", "--pretrained", "false"])
    assert params.load().members["base"].pretrained is False


def test_one_folder_per_class(tmp_path: Path) -> None:
    tiny.write_data(tmp_path / "chorus")
    cli.main(["init", "--folders", "chorus/train_audio", "--backbone", "efficientnet_b1"])
    loaded = params.load()
    assert (loaded.data.layout, loaded.data.soundscapes) == ("folders", None)
    assert loaded.members["base"].backbone == "efficientnet_b1"


def test_recordings_that_annotations_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_data(tmp_path / "chorus")
    Path("annotations").mkdir()
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", "--annotations", "chorus"])
    assert "annotations: holds no annotations; put tables there first" in capsys.readouterr().err
    Path("annotations/a.csv").write_text("file,start_s,end_s,label\nmidton/XC0.ogg,0,1,midton\nXC1,0,1,nocall\n")
    cli.main(["init", "--annotations", "chorus"])
    loaded = params.load()
    assert (loaded.data.layout, loaded.data.root, loaded.data.soundscapes) == ("annotations", "chorus", None)
    assert loaded.train["strong"].augment.background.label == "nocall"


def test_common_names_in_annotations_count_as_labels(tmp_path: Path) -> None:
    rows = ["file,start_s,end_s,label", "a.ogg,0,1,Alder Babbler", "a.ogg,1,2,aldbab", "a.ogg,1,2,owl"]
    Path("annotations").mkdir()
    Path("annotations/a.csv").write_text("\n".join(rows))
    Path("birds").mkdir()
    with pytest.raises(PipelineError, match="holds a space"):
        annotation_facts(Path("birds"))
    Path("birds/taxonomy.csv").write_text("primary_label,common_name\naldbab,Alder Babbler\n")
    assert sorted(annotation_facts(Path("birds")).per_class) == [1, 2]


def test_an_old_params_file_is_kept() -> None:
    Path("params.yaml").write_text("mine")
    cli.main(["init", "--demo"])
    assert Path("params.yaml.bak").read_text() == "mine"
    assert Path("params.yaml").read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize("source", ["--birdclef", "--folders"])
def test_a_folder_without_data_is_refused(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", source, "nothing"])
    assert "nothing" in capsys.readouterr().err
    assert Path("params.yaml").read_bytes() == SHIPPED.read_bytes()


def test_classes_are_weighted_only_where_they_differ_in_size(tmp_path: Path) -> None:
    """On balanced classes draws with replacement would skip a third of the recordings in each epoch."""
    for counts, weighted in (((4, 3), False), ((4, 1), True)):
        rows = [f"{label},{label}/{n}.ogg" for label, count in zip("ab", counts, strict=True) for n in range(count)]
        (tmp_path / "train.csv").write_text("\n".join(["primary_label,filename", *rows]))
        cli.main(["init", "--birdclef", "."])
        assert params.load().recipe_of("base").sampling.weighted is weighted


def test_a_table_without_recordings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = {
        "primary_label,filename\n": "names no recording",
        "label,filename\na,a.ogg\n": r"missing columns: primary_label",
        "primary_label,filename\na\n": "1 problem; row 1 is the header row 2: does not have 2 cells",
    }
    for text, rule in rules.items():
        (tmp_path / "train.csv").write_text(text)
        with pytest.raises(SystemExit, match="1"):
            cli.main(["init", "--birdclef", "."])
        assert f"train.csv: {rule}" in " ".join(capsys.readouterr().err.split())


def write_table(counts: dict[str, int]) -> None:
    rows = [f"{label},{label}/{number}.ogg" for label, count in counts.items() for number in range(count)]
    Path("train.csv").write_text("\n".join(["primary_label,filename", *rows]))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--backbone", "efficientnet_b00"), "timm has no such model; similar names: efficientnet_b0"),
        (("--pretrained", "none.safetensors"), "'none.safetensors': no such file or folder"),
    ],
)
def test_a_network_that_no_stage_would_take_is_refused(
    capsys: pytest.CaptureFixture[str], option: tuple[str, str], told: str
) -> None:
    tiny.write_data(Path("chorus"))
    with pytest.raises(SystemExit, match="1"):
        cli.main(["init", "--folders", "chorus/train_audio", *option])
    shown = capsys.readouterr()
    assert told in shown.err
    assert "next: dvc repro" not in shown.out


def test_recipes_fit_a_pretrained_network_and_the_size_of_the_data(tmp_path: Path) -> None:
    for count, rate, decay in ((20, 1e-3, 0.98), (2000, 5e-4, 0.999)):
        write_table({"a": count, "b": count // 4})
        cli.main(["init", "--birdclef", ".", "--pretrained", "true"])
        recipes = params.load().train
        for name in ("strong", "winner"):
            optimiser = recipes[name].optimiser
            assert (optimiser.lr, optimiser.layer_decay, recipes[name].sampling.weighted) == (rate, 0.8, True)
        assert recipes["winner"].optimiser.ema_decay == decay
        assert recipes["baseline"].optimiser.kind == "adam"
    write_table({"a": 20, "b": 5})
    cli.main(["init", "--birdclef", ".", "--pretrained", "false"])
    assert params.load().train["strong"].optimiser.lr == 1e-2


@pytest.mark.parametrize(("pretrained", "recipe"), [("true", "finetuned"), ("false", "regularised")])
def test_the_member_gets_the_recipe_for_its_weights(
    pretrained: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table({"a": 20, "b": 5})
    cli.main(["init", "--birdclef", ".", "--pretrained", pretrained])
    loaded = params.load()
    assert list(loaded.members) == ["base"]
    assert loaded.members["base"].recipe == recipe
    assert loaded.recipe_of("base").sampling.weighted is True
    assert loaded.views["mel"].hop == (1024 if recipe == "finetuned" else 512)
    told = capsys.readouterr().out
    assert f"so recipe {recipe}; 25 recordings of 2 classes, those of rare classes drawn more often" in told
    assert "cost of a step" in told


@pytest.mark.parametrize(
    ("pretrained", "recipe", "third"), [("true", "finetuned", "fine"), ("false", "regularised", "long")]
)
def test_an_ensemble_has_three_members_that_see_different_things(
    capsys: pytest.CaptureFixture[str], pretrained: str, recipe: str, third: str
) -> None:
    write_table({"a": 5, "b": 5})
    soundfile.write("a.wav", np.zeros(100), 44_100)
    cli.main(["init", "--birdclef", ".", "--pretrained", pretrained, "--ensemble"])
    loaded = params.load()
    recipes = {name: loaded.recipe_of(name) for name in loaded.members}
    seen = {name: (member.view, recipes[name].clip_s) for name, member in loaded.members.items()}
    assert seen == {"base": ("mel", 5.0), "short": ("mel", 2.5), third: (third, {"fine": 2.5, "long": 5.0}[third])}
    assert list(loaded.views) == ["mel", third]
    if third == "fine":
        view = loaded.spectrograms["fine"]
        assert (view.sample_rate_hz, view.fmax_hz, view.n_fft, view.hop) == (44_100, 22_050, 1024, 512)
    assert "&id" not in Path("params.yaml").read_text(), "no section stands for several"
    assert {len(each.channels) for each in recipes.values()} == {3 if recipe == "finetuned" else 1}
    assert [each.seed for each in recipes.values()] == [1, 2, 3]
    assert recipes["short"].augment.time_shift_s == 0
    assert {member.recipe for member in loaded.members.values()} == {recipe}
    assert "3 members, mobilenetv3_small_100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rates_hz", "rate_hz"), [([], 32_000), ([44_100] * 2 + [22_050], 44_100), ([16_000], 32_000), ([192_000], 48_000)]
)
def test_the_usual_rate_is_that_of_most_recordings_between_32_and_48_khz(rates_hz: list[int], rate_hz: int) -> None:
    write_table({"a": 5, "b": 5})
    Path("train_audio/a").mkdir(parents=True)
    Path("train_audio/a/empty.wav").touch()
    for number, rate in enumerate(rates_hz):
        soundfile.write(f"train_audio/a/{number}.wav", np.zeros(100), rate)
    assert birdclef_facts(Path()).usual_rate_hz == rate_hz


def test_background_is_mixed_in_where_some_recordings_are_without_birds(tmp_path: Path) -> None:
    for counts, probability in (({"a": 4, "b": 3}, 0.0), ({"a": 4, "nocall": 3}, 0.5)):
        write_table(counts)
        cli.main(["init", "--birdclef", "."])
        recipes = params.load().train
        assert [recipes[name].augment.background.probability for name in ("strong", "winner")] == [probability] * 2
        assert recipes["regularised"].augment.background.probability == 0
    Path("nocall").mkdir()
    Path("nocall/1.ogg").touch()
    cli.main(["init", "--folders", "."])
    assert params.load().train["strong"].augment.background.label == "nocall"


@pytest.mark.parametrize("counts", [{"a": 4, "b": 3}, {"a": 40, "b": 3}, {"a": 4000, "b": 30}])
@pytest.mark.parametrize("pretrained", ["true", "false"])
def test_the_ladder_has_the_rungs_of_the_analysis_on_the_one_view(counts: dict[str, int], pretrained: str) -> None:
    """And no ablation that changes nothing, which the schema would refuse."""
    write_table(counts)
    cli.main(["init", "--birdclef", ".", "--backbone", "efficientnet_b1", "--pretrained", pretrained])
    loaded = params.load()
    assert list(loaded.views) == ["mel"]
    assert list(loaded.ladder.rungs) == ["baseline", "balanced", "regularised", "strong", "winner"]
    for rung in loaded.ladder.rungs.values():
        assert (rung.backbone, rung.pretrained) == ("efficientnet_b1", pretrained == "true")
    assert loaded.ladder.folds == [0]
    assert loaded.ladder.rungs["winner"].override == {}, "one yes or no per class, as its recipe says"
    ablations = loaded.ladder.ablations
    assert not ablations or ablations["cross_entropy"].without["override"] == {"loss": {"kind": "ce"}}
    assert bool(loaded.ladder.ablations) is (counts["a"] < 2000), "on large data each would cost hours"


def test_a_noisy_student_is_measured_by_what_truth_there_is(tmp_path: Path) -> None:
    tiny.write_data(tmp_path / "chorus")
    for expected in ("soundscapes", "out_of_fold"):
        cli.main(["init", "--birdclef", "chorus"])
        student = params.load().student
        assert student.gain_in == expected
        assert {str(each.override) for each in student.rounds.values()} == {"{}"}, "as long as the members' trainings"
        (tmp_path / "chorus/test_soundscapes_labels.csv").unlink(missing_ok=True)
