"""A disposable process decodes: the same codes, and whatever a file does to it costs that file alone."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdcache.audio import decoder as parent
from birdcache.audio.decoder import Decoder, Limits, with_second_try
from birdcache.audio.read import read_info
from birdcache.audio.rejected import RejectedAudio
from birdcache.params.views import MelView, PcenView
from cache.mel import packed_view
from cache.quantize import QuantizedArray
from pipeline.builder.encode import decode_quantized, quantized_blocks, quantized_request
from tests.fixtures.recordings import WriteClip
from tests.fixtures.tiny import ROOT
from tests.fixtures.waveform import read_waveform
from tests.pipeline.builder.test_build import PCEN_UINT8, VIEW, VIEWS

SECONDS = 3.0


@pytest.fixture
def clip(tmp_path: Path, write_clip: WriteClip) -> Path:
    return write_clip(tmp_path / "good.ogg", SECONDS)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    started = Decoder()
    yield started
    started.close()


@pytest.fixture
def misbehaving(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> Decoder:
    monkeypatch.setattr(parent, "CHILD", "tests.birdcache.audio.misbehaving")
    return decoder


@pytest.fixture
def named(clip: Path) -> Callable[[str], Path]:
    """A function that gives the good clip under another name."""
    return lambda name: Path(shutil.copy(clip, clip.with_name(f"{name}.ogg")))


def codes_of(
    decoder: Decoder, path: Path, view: MelView | PcenView = VIEW, sha256: str | None = None
) -> QuantizedArray:
    return np.concatenate(list(decode_quantized(decoder, quantized_request(path, view, sha256), SECONDS)))


def codes_before(decoder: Decoder, path: Path, following: Path) -> QuantizedArray:
    first, second = (quantized_request(each, VIEW) for each in (path, following))
    return np.concatenate(list(decode_quantized(decoder, first, SECONDS, second)))


def expected(path: Path, view: MelView | PcenView = VIEW) -> QuantizedArray:
    return np.concatenate(list(quantized_blocks(path, packed_view(view))))


def process_of(decoder: Decoder) -> int:
    assert decoder._process is not None
    return decoder._process.pid


def refusal_of(action: Callable[[], object]) -> RejectedAudio:
    with pytest.raises(RejectedAudio) as caught:
        action()
    return caught.value


@VIEWS
def test_codes_are_those_of_this_process(decoder: Decoder, write_clip: WriteClip, tmp_path: Path, view: Any) -> None:
    for number, seconds in enumerate((0.5, 9.0, 1.5)):  # 9 s: several blocks
        path = write_clip(tmp_path / f"{number}.ogg", seconds, rate_hz=(16000, 44100, 32000)[number], channels=2)
        found = codes_of(decoder, path, view)
        assert found.dtype == np.dtype(view.dtype)
        assert np.array_equal(found, expected(path, view))


@pytest.mark.parametrize("rate_hz", [16000, 32000, 44100, 192000])
def test_a_waveform_is_that_of_this_process(decoder: Decoder, clip: Path, rate_hz: int) -> None:
    found = np.concatenate(list(decoder.waveform(clip, rate_hz, SECONDS)))
    assert np.array_equal(found, read_waveform(clip, rate_hz))
    assert found.dtype == np.float32
    assert len(codes_of(decoder, clip)) > 0, "the process goes on with other requests"


def test_a_waveform_of_a_cut_file_is_refused_after_its_good_pieces(decoder: Decoder, clip: Path) -> None:
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    assert refusal_of(lambda: list(decoder.waveform(clip, 16000, SECONDS))).code == "truncated"
    refused = refusal_of(lambda: decoder.sound(clip, SECONDS, "0" * 64))
    assert (refused.code, refused.file) == ("changed", str(clip))


@pytest.mark.parametrize(
    "answer",
    [
        {"dtype": "float16", "shape": [2**60, 32]},
        {"dtype": "float16", "shape": [-1, 32]},
        {"dtype": "float16", "shape": [5, 33]},
        {"dtype": "float16", "shape": [True, 32, 1]},
        {"dtype": "float16", "shape": 7},
        {"dtype": "object", "shape": [5, 32]},
        {"shape": [5, 32]},
    ],
)
def test_an_array_that_was_not_asked_for_is_no_answer(answer: dict[str, Any]) -> None:
    assert parent._checked_shape({"dtype": "float16", "shape": [5, 32]}, "float16", (32,)) == (5, 32)
    with pytest.raises(RejectedAudio, match="no answer") as refused, parent._rejecting(Path("a.ogg")):
        parent._checked_shape(answer, "float16", (32,))
    assert refused.value.code == "crashed"


def test_one_process_serves_many_files(decoder: Decoder, clip: Path) -> None:
    assert decoder.info(clip) == read_info(clip)
    first = process_of(decoder)
    codes_of(decoder, clip)
    refusal_of(lambda: decoder.info(clip.with_name("gone.ogg")))
    assert decoder.info(clip) == read_info(clip)
    assert process_of(decoder) == first


@pytest.mark.parametrize("name", ["text.ogg", "gone.ogg"])
def test_a_refusal_is_that_of_this_process(decoder: Decoder, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.ogg").write_bytes(b"<html>")
    path = tmp_path / name
    here, there = refusal_of(lambda: read_info(path)), refusal_of(lambda: decoder.info(path))
    assert (there.code, str(there)) == (here.code, str(here))


def test_another_content_than_was_listed_is_refused(decoder: Decoder, clip: Path) -> None:
    changed = refusal_of(lambda: codes_of(decoder, clip, sha256="0" * 64))
    assert str(changed) == f"{clip}: has changed since stage `recordings` read it; run `dvc repro`"


@pytest.mark.parametrize(
    ("name", "code", "detail"),
    [
        ("crash", "crashed", "crashes its decoder (SIGSEGV)"),
        pytest.param("late-crash", "crashed", "crashes its decoder (SIGSEGV)", marks=pytest.mark.slow),
        pytest.param("quits", "crashed", "crashes its decoder (status 3)", marks=pytest.mark.slow),
        pytest.param(
            "babbles", "crashed", "makes its decoder send something that is no answer", marks=pytest.mark.slow
        ),
        pytest.param("killed", "out-of-memory", "killed by the system", marks=pytest.mark.slow),
        ("swells", "out-of-memory", "takes more memory than any recording needs"),
    ],
)
def test_what_ends_the_process_costs_one_file(
    misbehaving: Decoder, clip: Path, named: Callable[[str], Path], name: str, code: str, detail: str
) -> None:
    path = named(name)
    rejected = refusal_of(lambda: codes_of(misbehaving, path))
    assert rejected.code == code
    assert misbehaving._process is None, "no process is used again after that"
    assert str(rejected).startswith(f"{path}: ")
    assert detail in str(rejected)
    assert np.array_equal(codes_of(misbehaving, clip), expected(clip))


def test_a_file_that_is_sent_ahead_gets_its_own_answers(decoder: Decoder, clip: Path, write_clip: WriteClip) -> None:
    others = [write_clip(clip.with_name(f"{seconds}.ogg"), seconds) for seconds in (1.0, 2.0, 9.0)]
    order = [clip, others[0], clip.with_name("gone.ogg"), others[1], others[2]]
    codes_of(decoder, clip)
    process = process_of(decoder)
    for path, following in pairwise(order):
        if path.exists():
            assert np.array_equal(codes_before(decoder, path, following), expected(path))
        else:
            assert refusal_of(partial(codes_before, decoder, path, following)).code == "unreadable"
    assert np.array_equal(codes_of(decoder, others[2]), expected(others[2]))
    assert process_of(decoder) == process


def test_a_file_that_was_sent_ahead_for_another_view_is_computed_anew(decoder: Decoder, clip: Path) -> None:
    codes_before(decoder, clip, clip)
    assert np.array_equal(codes_of(decoder, clip, PCEN_UINT8), expected(clip, PCEN_UINT8))


def test_a_file_that_is_sent_ahead_and_crashes_costs_itself_alone(
    misbehaving: Decoder, clip: Path, named: Callable[[str], Path]
) -> None:
    crash = named("crash")
    assert np.array_equal(codes_before(misbehaving, clip, crash), expected(clip))
    assert refusal_of(partial(codes_before, misbehaving, crash, clip)).code == "crashed"
    assert np.array_equal(codes_of(misbehaving, clip), expected(clip))


def test_an_error_that_nobody_foresaw_costs_one_file_and_says_what_to_report(
    misbehaving: Decoder, clip: Path, named: Callable[[str], Path]
) -> None:
    rejected = refusal_of(lambda: misbehaving.info(named("blunders")))
    assert rejected.code == "unexpected"
    assert re.search(r"blunders\.ogg: makes birdcache fail \(ValueError: .*, line \d+\); report this", str(rejected))
    assert misbehaving.info(clip) == read_info(clip)


@pytest.mark.parametrize("name", ["stalls", "late-stalls"])
def test_a_file_that_stalls_is_given_up(
    misbehaving: Decoder, clip: Path, named: Callable[[str], Path], name: str
) -> None:
    misbehaving.info(clip)
    stuck, misbehaving._limits = process_of(misbehaving), Limits(wait_s=0.2, wait_s_per_s=0.1)
    begin_s = time.monotonic()
    rejected = refusal_of(lambda: codes_of(misbehaving, named(name)))
    assert (rejected.code, rejected.detail) == ("timed-out", "is not decoded after 0.5 s")
    assert time.monotonic() - begin_s < 30
    with pytest.raises(ProcessLookupError):
        os.kill(stuck, 0)


def test_a_file_that_trickles_is_given_up_though_each_piece_is_in_time(
    misbehaving: Decoder, clip: Path, named: Callable[[str], Path]
) -> None:
    codes_of(misbehaving, clip)
    misbehaving._limits = Limits(wait_s=2.6, wait_s_per_s=0.0)
    assert refusal_of(lambda: codes_of(misbehaving, named("trickles"))).code == "timed-out"


@pytest.mark.slow
def test_a_process_that_stalls_ends_with_a_parent_that_is_killed(named: Callable[[str], Path]) -> None:
    ask = (
        "import sys; from pathlib import Path; from birdcache.audio import decoder as parent\n"
        "from pipeline.builder.encode import decode_quantized, quantized_request\n"
        "from tests.pipeline.builder.test_build import VIEW\n"
        "parent.CHILD = 'tests.birdcache.audio.misbehaving'\n"
        "decoder = parent.Decoder(); decoder._process = parent.begin(parent.LIMITS)\n"
        "print(decoder._process.pid, flush=True)\n"
        "list(decode_quantized(decoder, quantized_request(Path(sys.argv[1]), VIEW), 3.0))\n"
    )
    command = [sys.executable, "-c", ask, str(named("stalls"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        stuck = Path(f"/proc/{int(asking.stdout.readline())}")
        time.sleep(3)  # until it stalls
        asking.kill()
    end_s = time.monotonic() + 60
    while stuck.exists() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not stuck.exists()


def test_it_computes_with_one_thread_so_that_sums_never_differ(decoder: Decoder, clip: Path) -> None:
    decoder.info(clip)
    told = Path(f"/proc/{process_of(decoder)}/environ").read_bytes().split(b"\0")
    assert {b"OMP_NUM_THREADS=1", b"OPENBLAS_NUM_THREADS=1"} <= set(told)


def test_what_a_library_prints_is_no_answer(misbehaving: Decoder, named: Callable[[str], Path]) -> None:
    path = named("chatters")
    assert np.array_equal(codes_of(misbehaving, path), expected(path))


def test_a_reader_that_leaves_early_does_not_spoil_the_next_answer(
    decoder: Decoder, write_clip: WriteClip, tmp_path: Path, clip: Path
) -> None:
    request = quantized_request(write_clip(tmp_path / "long.ogg", 60.0), VIEW)
    quantized = decode_quantized(decoder, request, 60.0)
    next(quantized)
    quantized.close()  # type: ignore[attr-defined]
    assert np.array_equal(codes_of(decoder, clip), expected(clip))


def test_a_process_that_ended_between_two_files_is_replaced(decoder: Decoder, clip: Path) -> None:
    decoder.info(clip)
    os.kill(process_of(decoder), signal.SIGKILL)
    assert with_second_try(lambda: decoder.info(clip)) == read_info(clip)


@pytest.mark.parametrize(
    "name", ["once-crash", *(pytest.param(name, marks=pytest.mark.slow) for name in ("once-quits", "once-swells"))]
)
def test_a_second_try_may_succeed(misbehaving: Decoder, named: Callable[[str], Path], name: str) -> None:
    path = named(name)
    found = with_second_try(lambda: codes_of(misbehaving, path))
    assert np.array_equal(found, expected(path))
    assert path.with_suffix(".seen").exists()


@pytest.mark.parametrize(("code", "tries"), [("crashed", 2), ("timed-out", 2), ("out-of-memory", 2), ("damaged", 1)])
def test_there_are_two_tries_of_what_ends_the_process_and_one_of_what_is_refused(code: str, tries: int) -> None:
    tried: list[str] = []

    def fail() -> None:
        tried.append(code)
        raise RejectedAudio(code, "is bad")

    assert refusal_of(lambda: with_second_try(fail)).code == code
    assert len(tried) == tries


ORPHAN = """
import os, sys, threading, time
from pathlib import Path
from birdcache.audio import decoder as parent
from pipeline.builder.encode import decode_quantized, quantized_request
from tests.pipeline.builder.test_build import VIEW
parent.CHILD = "tests.birdcache.audio.misbehaving"
decoder = parent.Decoder()
decoder.info(Path(sys.argv[1]))
print(decoder._process.pid, flush=True)
list(decode_quantized(decoder, quantized_request(Path(sys.argv[2]), VIEW), 1.0))
"""


def test_the_process_ends_with_its_parent_even_while_it_stalls(clip: Path, named: Callable[[str], Path]) -> None:
    command = [sys.executable, "-c", ORPHAN, str(clip), str(named("stalls"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False


def test_path_counts_from_where_it_is_asked_and_not_from_where_the_process_began(
    decoder: Decoder, tmp_path: Path, write_clip: WriteClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    durations = []
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        write_clip(tmp_path / name / "clip.wav", seconds)
        monkeypatch.chdir(tmp_path / name)
        durations.append(decoder.info(Path("clip.wav")).duration_s)
    assert durations == [1.0, 2.0]


def test_process_ends_with_the_thread_that_it_decodes_for(clip: Path) -> None:
    processes = []

    def decode() -> None:
        parent.decoder().info(clip)
        processes.append(process_of(parent.decoder()))

    thread = threading.Thread(target=decode)
    thread.start()
    thread.join()
    gc.collect()
    assert not Path(f"/proc/{processes[0]}").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_that_closes_a_decoder_leaves_it_to_its_parent(decoder: Decoder, clip: Path) -> None:
    decoder.info(clip)
    process = process_of(decoder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads, which the fork does not use
        fork = os.fork()
    if fork == 0:
        decoder.close()
        os._exit(0)
    assert os.waitpid(fork, 0)[1] == 0
    assert decoder.info(clip) == read_info(clip)
    assert process_of(decoder) == process
