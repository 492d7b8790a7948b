"""prepare: what goes in, what is dropped and why, what comes out, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from datasets import load_from_disk

from tests.tiny import make_sentences
from tsdae_kit import KitError, load_prepared, prepare_corpus
from tsdae_kit.corpus.prepared_folder import read_batches, read_manifest
from tsdae_kit.labelled.loading import load_labelled
from tsdae_kit.training.tsdae_task import TSDAEData


def write(name: str, lines: list[str], end: str = "\n") -> str:
    Path(name).write_bytes("".join(line + end for line in lines).encode())
    return name


def test_every_dropped_line_is_counted_under_its_reason() -> None:
    good = make_sentences(20)
    bad = ["", "   ", "short", "x" * 2001, "1234567890 - 12", good[0], good[1].upper()]
    prepare_corpus(files=[write("c.txt", [*good, *bad])], output="out")
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert manifest["dropped"] == {"empty": 2, "too short": 1, "too long": 1, "few letters": 1, "duplicate": 2}
    assert manifest["read"] == 27
    assert manifest["train"] + manifest["held_out"] == 20


def test_the_result_is_a_dataset_dict_of_pairs_that_datasets_can_read() -> None:
    sentences = make_sentences(100)
    prepare_corpus(files=[write("c.txt", sentences)], output="out")
    pairs = load_from_disk("out")
    assert set(pairs) == {"train", "held_out"}
    assert pairs["train"].column_names == ["noisy", "clean"]
    assert (len(pairs["train"]), len(pairs["held_out"])) == (90, 10)
    assert sorted([*pairs["train"]["clean"], *pairs["held_out"]["clean"]]) == sorted(sentences)


@pytest.mark.parametrize(("held_out", "count"), [(0, 0), (5, 5), (0.05, 5), (50, 10)])
def test_held_out_is_a_share_or_a_count_and_at_most_a_tenth(held_out: float, count: int) -> None:
    prepare_corpus(files=[write("c.txt", make_sentences(100))], output="out", held_out=held_out)
    assert len(load_prepared(Path("out")).held_out) == count


def test_reads_folders_globs_gzip_byte_order_marks_and_windows_line_ends() -> None:
    sentences = make_sentences(80)
    Path("folder/deep").mkdir(parents=True)
    Path("folder/a.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(sentences[:20]).encode())
    Path("folder/deep/b.txt.gz").write_bytes(gzip.compress("\n".join(sentences[20:40]).encode()))
    Path("folder/ignored.bin").write_bytes(b"\xff\xff")
    write("g1.txt", sentences[40:60])
    write("g2.txt", sentences[60:])
    prepare_corpus(files=["folder", "g?.txt"], output="out", held_out=0)
    assert load_prepared(Path("out")).train["clean"][:] == sentences


def test_a_finished_folder_is_recognised_and_other_settings_are_not_mixed_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = write("c.txt", make_sentences(50))
    prepare_corpus(files=[source], output="out")
    before = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")}
    Path(source).rename("moved.txt")
    prepare_corpus(files=["moved.txt"], output="out")
    assert "nothing to do" in caplog.text
    with pytest.raises(KitError, match="--overwrite"):
        prepare_corpus(files=["moved.txt"], output="out", seed=1)
    assert {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")} == before
    prepare_corpus(files=["moved.txt"], output="out", seed=1, overwrite=True)
    assert load_prepared(Path("out")).noise.seed == 1


def test_the_same_input_gives_the_same_rows() -> None:
    source = write("c.txt", make_sentences(100))
    first, second = (load_prepared(prepare_corpus(files=[source], output=name)) for name in ("one", "two"))
    assert first.train[:] == second.train[:]
    assert first.held_out[:] == second.held_out[:]
    assert first.fingerprint == second.fingerprint


BAD_INPUT = {
    "missing": "There is no file",
    "empty.txt": "is empty",
    "no_text": "holds no text",
    "latin.txt": "line 3: the byte 0xe9 is not UTF-8",
    "broken.txt.gz": "after line 0",
    "wide.txt": "line 1: it holds a zero byte",
    "only_short.txt": "No sentence is left",
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gives_one_line_and_leaves_nothing(name: str) -> None:
    Path("empty.txt").touch()
    Path("no_text").mkdir()
    Path("wide.txt").write_bytes("the doctor finds a rash".encode("utf-16-le"))
    Path("latin.txt").write_bytes("\n".join(make_sentences(2)).encode() + "\ncaf\xe9 and more text\n".encode("latin-1"))
    Path("broken.txt.gz").write_bytes(b"this is not gzip")
    write("only_short.txt", ["a", "b", "c"])
    with pytest.raises(KitError, match=BAD_INPUT[name]) as raised:
        prepare_corpus(files=[name], output="out")
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()
    assert not list(Path().glob(".out.partial"))


@pytest.mark.parametrize("output", ["/", "/proc/out"])
def test_an_output_that_cannot_be_written_is_one_line(output: str) -> None:
    with pytest.raises(KitError, match="cannot be written"):
        prepare_corpus(files=[write("c.txt", make_sentences(20))], output=output)


def test_wrong_bytes_can_be_replaced() -> None:
    Path("latin.txt").write_bytes("caf\xe9 and more text\n".encode("latin-1"))
    prepare_corpus(files=["latin.txt"], output="out", encoding_errors="replace")
    assert load_prepared(Path("out")).train["clean"][:] == ["caf\ufffd and more text"]


def test_the_folder_one_stands_in_is_never_replaced() -> None:
    with pytest.raises(KitError, match=r"^\. exists and is no prepared data set"):
        prepare_corpus(files=[write("c.txt", make_sentences(20))], output=".", overwrite=True)
    assert Path("c.txt").exists()


@pytest.mark.parametrize("key", ["fingerprint", "noise", "train"])
def test_a_manifest_without_a_part_is_no_prepared_data_set(key: str) -> None:
    prepare_corpus(files=[write("c.txt", make_sentences(20))], output="out")
    manifest = json.loads(Path("out/manifest.json").read_text())
    del manifest[key]
    Path("out/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(KitError, match="is no prepared data set"):
        load_prepared(Path("out"))


def test_a_folder_that_is_no_prepared_data_set_is_never_replaced() -> None:
    Path("precious").mkdir()
    Path("precious/thesis.tex").write_text("years of work")
    with pytest.raises(KitError, match="is no prepared data set"):
        prepare_corpus(files=[write("c.txt", make_sentences(20))], output="precious", overwrite=True)
    assert Path("precious/thesis.tex").read_text() == "years of work"


LIGHT = """
import signal
from tsdae_kit.corpus import blocks, local_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts in the background ignore it
local_engine._BYTES_PER_WORKER, blocks.BLOCK_BYTES = 1, 20_000
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run_command(*argv: str, before: str = "", wait: bool = True) -> subprocess.Popen[str]:
    """Start the command, with two workers even for little data."""
    code = f"{LIGHT}{before}\nfrom tsdae_kit.prepare import main; main({list(argv)})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if wait:
        process.communicate()
    return process


def wait_for_workers(process: subprocess.Popen[str]) -> int:
    """Return the number of the first worker, once there is one."""
    while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        time.sleep(0.005)
    return int(children[0])


def many_lines(count: int = 20_000) -> str:
    sentences = make_sentences(400)
    return write("c.txt", [f"{sentences[i % 400]} ({i})" for i in range(count)])


def contents(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def data(folder: str) -> dict[str, bytes]:
    """Return the contents without the report, which comes after the data have their name."""
    return {name: content for name, content in contents(folder).items() if "report.html" not in name}


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_nothing_and_run_again_it_completes() -> None:
    source = many_lines()
    began = time.monotonic()
    assert run_command(source, "--output", "whole", "--workers", "2").returncode == 0
    whole = time.monotonic() - began
    finished = 0  # before they were killed, on a machine that is faster by now
    for part in range(1, 7):
        process = run_command(source, "--output", "out", "--workers", "2", wait=False)
        time.sleep(whole * part / 8)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate()  # until all its workers, who hold its output, have gone too
        assert not any(Path(f"/proc/{child}/exe").exists() for child in children)
        if Path("out").exists():
            assert data("out") == data("whole")
            shutil.rmtree("out")
            finished += 1
    assert finished < 4
    assert run_command(source, "--output", "out", "--workers", "2").returncode == 0
    assert contents("out") == contents("whole")
    assert sorted(p.name for p in Path().iterdir()) == [".out.lock", ".whole.lock", "c.txt", "out", "whole"]


def test_ctrl_c_is_one_line_and_leaves_nothing() -> None:
    process = run_command(many_lines(), "--output", "out", "--workers", "2", wait=False)
    wait_for_workers(process)  # before, among the imports, Python itself may swallow a KeyboardInterrupt
    process.send_signal(signal.SIGINT)
    shown = process.communicate()[0]
    assert (process.returncode, len(shown.splitlines())) == (130, 1), shown
    assert not [p for p in Path().iterdir() if "out" in p.name and p.suffix != ".lock"]


def test_a_worker_that_dies_is_one_line() -> None:
    process = run_command(many_lines(), "--output", "out", "--workers", "2", wait=False)
    os.kill(wait_for_workers(process), signal.SIGKILL)
    shown = process.communicate()[0]
    assert process.returncode == 2
    assert re.fullmatch(r".*: A worker process died .*\n", shown)


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing() -> None:
    """By a limit on the size of a file, which fails the same writes."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    process = run_command(many_lines(), "--output", "out", before=limit, wait=False)
    shown = process.communicate()[0]
    assert process.returncode == 2
    assert re.fullmatch(r".*: out could not be written .*\n", shown), shown
    assert not [p for p in Path().iterdir() if "out" in p.name and p.suffix != ".lock"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus() -> None:
    """200 thousand more sentences, 40 MB of text and 60 MB of pairs, may cost 8 bytes each and little more."""
    peaks = []
    for count in (15_000, 215_000):
        sentences = make_sentences(400)
        write(f"{count}.txt", [f"{sentences[i % 400]} ({i}) {'more words ' * 15}" for i in range(count)])
        code = f"{LIGHT}blocks.BLOCK_BYTES = 1 << 20\nfrom tsdae_kit import prepare_corpus\n"
        code += f"prepare_corpus(files=['{count}.txt'], output='out{count}', workers=1)\n"
        code += "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
        shown = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, check=True).stdout
        peaks.append(int(shown.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 40_000


@pytest.mark.slow
def test_a_second_process_waits_and_finds_the_work_done() -> None:
    source = many_lines()
    first, second = (run_command(source, "--output", "out", wait=False) for _ in range(2))
    shown = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert sum("nothing to do" in text for text in shown) == 1


def test_what_decides_the_result_decides_the_fingerprint_and_nothing_else() -> None:
    Path("mine.py").write_text("def noise(words, random):\n    return words[:2]\n")
    Path("words.txt").write_text("doctor\n")
    source = write("c.txt", make_sentences(30))
    given: dict[str, object] = {}
    fingerprints = set()
    sys.path.insert(0, "")
    changes: list[dict[str, object]] = [
        {}, {"noise": "swap:0.1"}, {"protect": "words.txt"}, {"min_letters": 0.1}, {"words": "nltk"},
        {"noise": "mine.noise"},
    ]  # fmt: skip
    for change in changes:
        given |= change
        prepare_corpus(files=[source], output="out", overwrite=True, **given)
        fingerprints.add(load_prepared(Path("out"), given.get("noise")).fingerprint)
    assert len(fingerprints) == len(changes)
    assert load_prepared(Path("out"), "mine.noise").noise("the doctor treats a rash") == "the doctor"
    prepare_corpus(files=[source], output="out", **{**given, "workers": 7, "model": "other", "max_length": 5})
    Path("mine.py").write_text("def noise(words, random):\n    return words[:3]\n")
    with pytest.raises(KitError, match="--overwrite"):
        prepare_corpus(files=[source], output="out", **given)
    given["noise"] = "delete"
    prepare_corpus(files=[source], output="out", overwrite=True, **given)
    Path("words.txt").write_text("doctor\nrash\n")
    with pytest.raises(KitError, match="--overwrite"):
        prepare_corpus(files=[source], output="out", **given)


def test_replaced_words_come_from_the_corpus_and_training_draws_the_same() -> None:
    source = write("c.txt", make_sentences(100))
    prepare_corpus(files=[source], output="out", noise="replace:0.5,delete:0.3", held_out=0)
    corpus = load_prepared(Path("out"))
    assert set(corpus.noise.vocabulary) == {word for text in make_sentences(100) for word in text[:-1].split()}
    assert corpus.train["noisy"][:] == [corpus.noise(text) for text in corpus.train["clean"]]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_masked_words_are_counted_as_words_fewer(caplog: pytest.LogCaptureFixture) -> None:
    write("c.txt", make_sentences(200))
    for noise in ("delete", "mask"):
        caplog.clear()
        with caplog.at_level("INFO"):
            prepare_corpus(files=["c.txt"], output=noise, noise=noise)
        found = re.search(r"words fewer in the noisy text +(-?[\d.]+)%", caplog.text)
        assert found
        assert 50 < float(found[1]) < 70


def test_the_closing_table_and_the_page_say_the_same(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = [*make_sentences(99), "An unknown <b>word</b> & more."]
    source = write("c.txt", [*good, "x", good[0]])
    prepare_corpus(files=[source], output="out", held_out=0, model=str(tiny_model), max_length=11)
    rows = dict(re.findall(r"^(\S.*?\S|  dropped.*?\S)  +(\S.*)$", caplog.text, re.MULTILINE))
    lengths = sorted(len(text) for text in good)
    tokens = [len(re.findall(r"\w+|[^\w ]", text)) + 2 for text in good]  # and [CLS] and [SEP]
    pieces = sum(tokens) - 200
    assert rows["texts of more than 11 tokens"] == f"{sum(count > 11 for count in tokens):.2f}%"
    assert rows["characters at 50 % / 95 % / 99 %"] == f"{lengths[50]} / {lengths[95]} / {lengths[99]}"
    known = {w for t in make_sentences(384) for w in re.findall(r"\w+|[.]", t)}
    unknown = [w for t in good for w in re.findall(r"\w+|[^\w ]", t.lower()) if w not in known]
    assert rows["tokenizer: unknown"] == f"{len(unknown) / pieces:.2%}"
    assert rows["tokenizer: pieces a word"] == "1.00"
    assert rows["  dropped: too short"] == "1"
    assert caplog.text.count("  noisy: ") == 5
    page = Page(Path("out/report.html").read_text(encoding="utf-8"))
    assert (page.open, page.links) == ([], [])
    assert all(part in page.text for entry in rows.items() for part in entry if not entry[0].startswith("INFO"))
    assert "An unknown <b>word</b> & more." in page.text
    assert page.text.count(": ") > 20  # bars of the histograms


def test_without_the_tokenizer_one_line_says_so_and_with_another_the_page_is_made_anew(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write("c.txt", make_sentences(50))
    prepare_corpus(files=[source], output="out", model="nobody/nothing")
    assert "No tokenizer of nobody/nothing is on this machine" in caplog.text
    before = Path("out/report.html").read_text()
    prepare_corpus(files=[source], output="out", model=str(tiny_model))
    assert "nothing to do" in caplog.text
    assert "tokens at" in Path("out/report.html").read_text()
    assert "tokens at" not in before


def test_rows_are_read_without_the_library_as_it_reads_them() -> None:
    prepare_corpus(files=[write("c.txt", make_sentences(50))], output="out")
    for split in ("train", "held_out"):
        rows = [row for batch in read_batches(Path("out"), split) for row in batch.to_pylist()]
        assert rows == list(load_from_disk("out")[split])


def test_the_texts_of_a_corpus_are_those_of_its_folder_and_of_its_labelled_pairs() -> None:
    """They are compared with evaluation data: also those held out, and of the pairs all columns."""
    sentences = make_sentences(50)
    corpus = load_prepared(prepare_corpus(files=[write("c.txt", sentences)], output="out"))
    write("pairs.jsonl", [json.dumps({"anchor": "a rash", "positive": "a red skin", "label": 1})])
    pairs = load_labelled([Path("pairs.jsonl")])
    data = TSDAEData(**vars(corpus), pairs=pairs)
    places = {place: [list(batch) for batch in batches] for place, batches in data.texts()}
    assert list(places) == ["out", "pairs.jsonl"]
    assert sorted(text for batch in places["out"] for text in batch) == sorted(sentences)
    assert places["pairs.jsonl"] == [["a rash"], ["a red skin"], [1]]
    assert [place for place, _ in corpus.texts()] == ["out"]


def test_prepare_and_its_workers_import_neither_torch_nor_datasets() -> None:
    """They take seconds to import and gigabytes of memory, in each worker."""
    code = (
        "import sys, tsdae_kit.prepare, tsdae_kit.corpus.preparation\n"
        "heavy = {'torch', 'transformers', 'datasets', 'nltk', 'ray', 'datasketch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


@pytest.mark.parametrize("fault", [RuntimeError("no\nroom"), ZeroDivisionError(), KeyError("lengths")])
def test_a_report_that_fails_costs_no_data(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr("tsdae_kit.corpus.preparation_report.make_prepared_page", fail)
        prepare_corpus(files=[write("c.txt", make_sentences(50))], output="out")
    assert load_prepared(Path("out")).size == 45
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    reason = {RuntimeError: "no", ZeroDivisionError: "ZeroDivisionError", KeyError: "'lengths'"}[type(fault)]
    assert line == f"!!! The report could not be written ({reason}). The data is whole."
    prepare_corpus(files=["c.txt"], output="out")
    assert Path("out/report.html").is_file()


def test_an_unreadable_tokenizer_costs_no_data_and_the_report_its_tokens_alone(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_model, "model")
    (file,) = Path("model").rglob("tokenizer.json")
    file.write_text('{"version": "9.0"}')
    prepare_corpus(files=[write("c.txt", make_sentences(50))], output="out", model="model")
    assert load_prepared(Path("out")).size == 45
    assert "!!! The tokenizer of model cannot be read (" in caplog.text
    assert "words at" in Path("out/report.html").read_text()
