"""The download, against fake servers that misbehave on purpose."""

import csv
import io
import math
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import disk_full_at
from fake_unsplash import COLUMNS, FakeUnsplash

import colorize.data.unsplash.catalog as catalog_module
import colorize.data.unsplash.download as unsplash
import colorize.data.unsplash.http as web
from colorize.cli import main
from colorize.data.folder import PhotoFolder, split_of
from colorize.data.manifest import Manifest, ManifestWriter
from colorize.data.unsplash.catalog import CatalogError, CatalogPhoto, read_catalog
from colorize.data.unsplash.download import UnsplashLite, photo_path
from colorize.io.photo import photo_size


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(web, "_BACKOFF", 0.01)
    monkeypatch.setattr(web, "_STALL_TIMEOUT", 0.3)
    monkeypatch.setattr(unsplash, "_PHOTO_TIMEOUT", 0.6)
    monkeypatch.setattr(web, "_TRIES", 3)
    monkeypatch.setattr(unsplash, "_PASSES", 1)


def lite(folder, servers, accept=True, **options):
    result = UnsplashLite(folder, hosts=servers.hosts, **({"size": 64} | options))
    if accept:
        result.accept_terms()
    return result


def download(folder, servers, **options):
    return lite(folder, servers).download(progress=False, **options)


def numbered(*kinds):
    """A kind for every third photo, and the ids by kind."""
    kinds = {f"id-{3 * i:05}": kind for i, kind in enumerate(kinds)}
    return kinds, {kind: photo_id for photo_id, kind in kinds.items()}


# The whole pipeline.


def test_one_call_prepares_the_data_set_and_a_second_requests_nothing(tmp_path):
    with FakeUnsplash(40) as servers:
        manifest = download(tmp_path, servers)
        assert manifest.counts() == {"good": 40}
        assert servers.photo_requests() == dict.fromkeys(servers.ids, 1)
        asked = servers.requests.copy()
        assert download(tmp_path, servers).entries == manifest.entries
        assert servers.requests == asked
    folder = PhotoFolder(tmp_path)
    assert {photo.id for photo in folder.photos} == set(servers.ids)
    for photo in folder.photos:
        assert photo.split == split_of(photo.photographer)
        assert photo_size(photo.path) == (photo.width, photo.height)
        assert min(photo.width, photo.height) == 64
    with (tmp_path / "CREDITS.csv").open(encoding="utf-8") as file:
        credits = {row["id"]: row for row in csv.DictReader(file)}
    assert credits.keys() == set(servers.ids)
    row = credits["id-00005"]
    assert row["photographer"] == "Zoë 5" and row["username"] == "person5"
    assert row["link"] == "https://unsplash.com/photos/id-00005"
    assert "may not publish" in (tmp_path / "TERMS.txt").read_text()
    assert [path.name for path in (tmp_path / "catalog").rglob("*.*")] == ["photos.tsv000"]
    assert not list(tmp_path.rglob(".*")), "half-written files are left"


PLANTED = {
    **{"gray": "gray", "toned": "toned", "busy": "good", "heals": "good", "cut": "good"},
    **{"moved": "good", "404": "gone", "410": "gone", "403": "bad", "html": "bad", "png": "bad"},
    **{"rot": "bad", "short": "bad", "elsewhere": "bad", "broken": "failed", "drip": "failed"},
    **{"stall": "failed", "mirrored:id-00001": "good"},
}


def test_counts_equal_the_planted_faults(tmp_path):
    kinds, by_kind = numbered(*PLANTED)
    with FakeUnsplash(60, kinds) as servers:
        manifest = download(tmp_path, servers)
        states = {kind: manifest.entries[photo_id].state for kind, photo_id in by_kind.items()}
        twin = {states.pop("mirrored:id-00001"), manifest.entries["id-00001"].state}
        assert twin == {"good", "duplicate"}  # one of the two stays
        assert states == {k: v for k, v in PLANTED.items() if not k.startswith("mirrored")}
        expected = Counter(PLANTED.values()) + Counter(duplicate=1, good=60 - len(PLANTED) - 1)
        assert manifest.counts() == expected
        asked = servers.photo_requests()
        tries = {kind: asked[photo_id] for kind, photo_id in by_kind.items()}
        assert tries["404"] == tries["410"] == tries["html"] == tries["elsewhere"] == 1
        assert (tries["busy"], tries["heals"], tries["cut"]) == (2, 3, 2)
        assert tries["broken"] == tries["stall"] == tries["drip"] == 3
        again = download(tmp_path, servers)  # asks for what failed, and nothing else
        assert again.counts() == expected
        more = servers.photo_requests() - asked
        assert more.keys() == {by_kind[kind] for kind in ("broken", "drip", "stall")}
        servers.kinds.clear()
        healed = download(tmp_path, servers, retry=True)
        assert healed.counts()["good"] == 60 - 3 and healed.counts()["gone"] == 0
    selections = [PhotoFolder(tmp_path).select(part) for part in ("train", "val", "test")]
    left_out = [reason for selection in selections for reason in selection.left_out.items()]
    counts = Counter()
    for reason, photos in left_out:
        counts[reason] += len(photos)
    assert (counts["gray"], counts["toned"], counts["duplicate"]) == (1, 1, 1)


def test_good_photos_are_kept_and_failures_have_reasons(tmp_path):
    kinds, by_kind = numbered("404", "html", "elsewhere", "rot", "broken", "stall")
    with FakeUnsplash(20, kinds) as servers:
        entries = download(tmp_path, servers).entries
    reasons = {kind: entries[photo_id].reason for kind, photo_id in by_kind.items()}
    assert reasons["404"] == "answered 404"
    assert reasons["html"] == "came as text/html, not as image/jpeg"
    assert reasons["elsewhere"] == "redirected to http://192.0.2.1, which is not allowed"
    assert "not a complete photo" in reasons["rot"]
    assert reasons["broken"] == "answered 503"
    assert reasons["stall"] == "timed out"
    for photo_id in by_kind.values():
        assert not (tmp_path / photo_path(photo_id)).exists()
        assert entries[photo_id].file == ""


# Politeness.


def test_photos_are_requested_at_the_size_for_training_with_an_honest_user_agent(tmp_path):
    seen = []
    with FakeUnsplash(6) as servers:
        handler = servers.server.RequestHandlerClass
        get = handler.do_GET

        def spied(self):
            seen.append((self.path, self.headers["User-Agent"]))
            get(self)

        servers.server.RequestHandlerClass = type("Spied", (handler,), {"do_GET": spied})
        download(tmp_path, servers)
    photos = dict(path.split("?") for path, _ in seen if "photo-" in path)
    assert photos["/photo-id-00001"] == "w=96&fm=jpg&q=85&fit=max"  # 6000 x 4000
    assert photos["/photo-id-00003"] == "w=64&fm=jpg&q=85&fit=max"  # 4000 x 6000
    assert all(agent.startswith("colorize-photos/") for _, agent in seen)


@pytest.mark.parametrize(("width", "height"), [(1000, 667), (3999, 3000), (4000, 4000)])
def test_the_short_side_is_never_below_what_was_asked_for(tmp_path, width, height):
    download = UnsplashLite(tmp_path, size=64)
    row = CatalogPhoto("a", f"{download.hosts.photos}/a", "", "", "", width, height)
    asked = int(re.search(r"\?w=(\d+)&", download._photo_url(row))[1])
    assert 64 <= asked * height / width < 66


def test_concurrent_requests_are_limited_to_the_workers(tmp_path):
    with FakeUnsplash(24, latency=0.05) as servers:
        lite(tmp_path, servers, workers=4).download(progress=False)
        assert servers.max_concurrent == 4


def test_all_threads_wait_if_the_server_asks_one_to(tmp_path):
    kinds = {f"id-{i:05}": "busy:1" for i in range(4)}
    with FakeUnsplash(16, kinds) as servers:
        start = time.monotonic()
        manifest = download(tmp_path, servers)
        assert 1 <= time.monotonic() - start < 4  # once, together, not one after the other
    assert manifest.counts() == {"good": 16}


@pytest.mark.parametrize("kind", ["html", "broken"])
def test_a_download_stops_if_every_response_fails_alike(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(unsplash, "_MAX_BAD_IN_A_ROW", 5)
    monkeypatch.setattr(unsplash, "_MAX_FAILURES_IN_A_ROW", 5)
    with FakeUnsplash(200) as servers:
        servers.kinds = dict.fromkeys(servers.ids, kind)
        with pytest.raises(ConnectionError, match=r"5 .* in a row .*--retry"):
            download(tmp_path, servers)
        assert len(servers.photo_requests()) < 60
        servers.kinds = {}
        assert download(tmp_path, servers, retry=True).counts() == {"good": 200}


@pytest.mark.parametrize(
    ("length", "largest", "deadline", "error", "reason"),
    [
        ("10", 99, math.inf, web.RetryableError, "cut after 5 of 10 bytes"),
        ("5", 4, math.inf, web.PermanentError, "larger than 4 bytes"),
        (None, 99, 0.0, web.RetryableError, "arrived too slowly"),
    ],
)
def test_a_truncated_large_or_slow_body_is_refused(length, largest, deadline, error, reason):
    headers = {} if length is None else {"Content-Length": length}
    answer = SimpleNamespace(headers=headers, raw=io.BytesIO(b"12345"))
    with pytest.raises(error, match=reason):
        web.save_body(answer, io.BytesIO(), largest, deadline)


def test_a_requested_wait_of_hours_ends_the_tries(monkeypatch):
    tried = []
    monkeypatch.setattr(web.HttpClient, "_sleep", lambda self, seconds: None)

    def attempt():
        tried.append(1)
        raise web.RetryableError("answered 429", wait=3601)

    with pytest.raises(web.RetryableError, match="answered 429"):
        web.HttpClient(1, "a test").retrying(attempt)
    assert len(tried) == 1


# Interrupted and resumed.


def test_a_complete_photo_without_a_line_is_reused_and_a_truncated_one_fetched_again(tmp_path):
    with FakeUnsplash(12) as servers:
        first = download(tmp_path, servers)
        path = tmp_path / "manifest.csv"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:8]) + lines[8][:20])  # killed while writing a line
        torn = first.entries["id-00011"]
        whole = (tmp_path / torn.file).read_bytes()
        (tmp_path / torn.file).write_bytes(whole[: len(whole) // 2])
        kept = tmp_path / photo_path("id-00002")
        kept.write_bytes(kept.read_bytes()[:-1])  # has a line, but not its length
        leftover = kept.with_name(".id-00099.jpg.77.part")
        leftover.write_bytes(b"half")
        asked = servers.photo_requests()
        second = download(tmp_path, servers)
        assert servers.photo_requests() - asked == {"id-00011": 1, "id-00002": 1}
    assert second.entries == first.entries
    assert not leftover.exists()


def test_a_written_split_is_permanent(tmp_path):
    with FakeUnsplash(30) as servers:
        download(tmp_path, servers)
        path = tmp_path / "manifest.csv"
        moved = Manifest(tmp_path)
        entry = moved.entries["id-00004"]
        other = "test" if entry.split != "test" else "train"
        path.write_text(path.read_text().replace(f",{entry.split},good,", f",{other},good,"))
        assert {e.split for e in Manifest(tmp_path).entries.values()} >= {other}
        before = {e.id: e.split for e in Manifest(tmp_path).entries.values()}
        servers.ids.append("id-00031")
        shutil.rmtree(tmp_path / "catalog")
        del servers.__dict__["archive"]
        after = {e.id: e.split for e in download(tmp_path, servers).entries.values()}
    assert after.pop("id-00031") and after == before


def test_ctrl_c_interrupts_waiting_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_BACKOFF", 1000.0)
    with FakeUnsplash(30, {"id-00000": "broken"}) as servers:
        add = ManifestWriter.add

        def interrupted(self, entry):
            add(self, entry)
            raise KeyboardInterrupt

        monkeypatch.setattr(ManifestWriter, "add", interrupted)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            download(tmp_path, servers)
        assert time.monotonic() - start < 10
        monkeypatch.setattr(ManifestWriter, "add", add)
        servers.kinds.clear()
        assert download(tmp_path, servers).counts() == {"good": 30}


def test_two_processes_in_one_folder_are_refused(tmp_path):
    refused = pytest.raises(BlockingIOError, match="another process is filling")
    with FakeUnsplash(3) as servers, ManifestWriter(tmp_path), refused:
        download(tmp_path, servers)


def test_a_full_disk_stops_the_download_without_partial_files(tmp_path, monkeypatch, capsys):
    with FakeUnsplash(12) as servers:
        options = ["--accept-terms", "--size", "64", "--workers", "2"]
        monkeypatch.setattr(UnsplashLite.__init__, "__defaults__", (320, 8, servers.hosts))
        with disk_full_at("id-00006.jpg"):
            assert main(["download", "-o", str(tmp_path), *options]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "No space left on device; the disk is full: free some space" in error
        assert main(["download", "-o", str(tmp_path), *options]) == 0
        assert set(servers.photo_requests().values()) <= {1, 2}
    assert "12 good" in capsys.readouterr().out


# The terms, and the command.


def test_nothing_is_requested_before_the_terms_are_accepted(tmp_path, monkeypatch, capsys):
    with FakeUnsplash(5) as servers:
        with pytest.raises(PermissionError, match="--accept-terms"):
            lite(tmp_path / "a", servers, accept=False).download()
        monkeypatch.setattr(UnsplashLite.__init__, "__defaults__", (320, 8, servers.hosts))
        monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))  # no terminal
        command = ["download", "-o", str(tmp_path / "b"), "--limit", "3"]
        assert main(command) == 2
        printed = capsys.readouterr()
        assert "You may not publish" in printed.out and "--accept-terms" in printed.err
        assert not servers.requests and not (tmp_path / "b").exists()
        assert main([*command, "--accept-terms"]) == 0
        assert "You may not publish" in capsys.readouterr().out
        assert main(command) == 0  # shown once
        printed = capsys.readouterr().out
        assert "You may not" not in printed and "3 good" in printed


@pytest.mark.parametrize(("answer", "status"), [("yes", 0), (" YES ", 0), ("y", 2), ("", 2)])
def test_at_a_terminal_the_terms_are_accepted_by_typing_yes(
    tmp_path, monkeypatch, capsys, answer, status
):
    with FakeUnsplash(2) as servers:
        monkeypatch.setattr(UnsplashLite.__init__, "__defaults__", (320, 8, servers.hosts))
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda question: answer)
        assert main(["download", "-o", str(tmp_path / "a")]) == status
        assert bool(servers.requests) == (status == 0)
    assert ("nothing was fetched" in capsys.readouterr().err) == (status == 2)


def test_the_command_passes_its_options_on(tmp_path, monkeypatch):
    seen = []

    class Lite:
        has_accepted = True

        def __init__(self, *args):
            seen.extend(args)

        def download(self, *args, **options):
            seen.extend((*args, options))
            raise ValueError("that will do")

    monkeypatch.setattr(unsplash, "UnsplashLite", Lite)
    options = ["--size=64", "--workers=3", "--version=1.2.0", "--source=a.zip", "--limit=5"]
    options.append("--retry")
    assert main(["download", "-o", str(tmp_path), *options]) == 2
    assert seen == [tmp_path, 64, 3, "1.2.0", Path("a.zip"), 5, {"retry": True}]


def test_the_exit_status_is_1_while_photos_are_missing(tmp_path, monkeypatch, capsys):
    with FakeUnsplash(8, {"id-00003": "broken", "id-00004": "404"}) as servers:
        monkeypatch.setattr(UnsplashLite.__init__, "__defaults__", (320, 8, servers.hosts))
        command = ["download", "-o", str(tmp_path), "--accept-terms", "--size", "64"]
        assert main(command) == 1
        printed = capsys.readouterr().out
        assert "failed: id-00003: answered 503" in printed
        assert "1 photo failed; re-run the command to try them again" in printed
        servers.kinds.pop("id-00003")
        assert main(command) == 0


def test_no_option_of_the_command_names_a_host():
    command = [sys.executable, "-m", "colorize", "download", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "host" not in done.stdout and "http" not in done.stdout


# The archive and its catalog.


@pytest.mark.parametrize(
    ("fault", "asked"), [("", 1), ("cut", 3), ("no range", 1), ("cut, no range", 6), ("tenth", 10)]
)
def test_a_truncated_archive_is_resumed(tmp_path, fault, asked):
    with FakeUnsplash(5) as servers:
        servers.archive_fault = fault
        if fault == "cut, no range":  # can never be whole
            with pytest.raises(ConnectionError, match=r"connection broke.* --source FILE"):
                download(tmp_path, servers)
        else:
            assert download(tmp_path, servers).counts() == {"good": 5}
            assert list(tmp_path.rglob("*.zip")) == []
        assert servers.requests["/archive.zip"] == asked


def test_a_new_latest_archive_is_not_appended_to_an_older_partial_one(tmp_path):
    with FakeUnsplash(5) as servers:
        place = tmp_path / "catalog"
        place.mkdir()
        (place / ".latest.zip.part").write_bytes(b"of another version")
        (place / ".latest.zip.etag").write_text('"older"')
        assert download(tmp_path, servers).counts() == {"good": 5}


def test_an_archive_with_another_digest_is_refused_and_kept_aside(tmp_path):
    with FakeUnsplash(5) as servers:
        with pytest.raises(ConnectionError, match=r"SHA-256 is .* not aa0fcb859040"):
            download(tmp_path, servers, version="1.4.1")
        assert (tmp_path / "catalog/1.4.1.zip.bad").read_bytes() == servers.archive
        assert not servers.photo_requests()


def test_a_web_page_is_no_archive(tmp_path, monkeypatch):
    with FakeUnsplash(5) as servers:
        handler = servers.server.RequestHandlerClass

        def page(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<p>Log in")

        servers.server.RequestHandlerClass = type("Page", (handler,), {"do_GET": page})
        with pytest.raises(ConnectionError, match=r"a web page came instead.*--source FILE"):
            download(tmp_path, servers)
    assert not list(tmp_path.rglob("*.zip*"))


@pytest.mark.parametrize("version", ["../../etc", "/x", "", "1.4.1?x=1"])
def test_a_version_that_is_a_path_is_refused(tmp_path, version):
    with FakeUnsplash(1) as servers, pytest.raises(CatalogError, match="no version"):
        download(tmp_path, servers, version=version)


def test_an_existing_archive_or_folder_is_used(tmp_path):
    with FakeUnsplash(9) as servers:
        (tmp_path / "lite.zip").write_bytes(servers.archive)
        folder = tmp_path / "unpacked" / "deeper"
        folder.mkdir(parents=True)
        comma, tab = servers.catalog(","), servers.catalog("\t")
        half = len(comma.splitlines()) // 2
        (folder / "photos.csv000").write_text(comma)
        (folder / "._photos.csv000").write_bytes(b"\x00 of a Mac")
        for source in (tmp_path / "lite.zip", folder.parent, folder / "photos.csv000"):
            rows, notes = read_catalog(source)
            assert [row.id for row in rows] == servers.ids and not notes
        (folder / "photos.tsv001").write_text(tab)
        rows, notes = read_catalog(folder)
        assert len(rows) == 9 and notes == ["9 rows repeat an id"]
        assert half
        manifest = download(tmp_path / "out", servers, source=tmp_path / "lite.zip")
        assert manifest.counts() == {"good": 9}
        assert servers.requests["/archive.zip"] == 0
        assert (tmp_path / "lite.zip").exists()


def catalog(tmp_path, text):
    path = tmp_path / "photos.tsv000"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


HEADING = "\t".join(COLUMNS) + "\n"
ROW = "1\tp\thttps://images.unsplash.com/a\t3\t2\td\tu\tf\tl\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADING.replace("photo_image_url", "image"), "no column photo_image_url in its heading"),
        ("", "no column photo_id"),
        (HEADING, "the catalog is empty"),
        (HEADING + ROW + ROW[:20], "ends in the middle of a row; fetch it again"),
        (HEADING + ROW.replace("\td\t", '\t"d and then\t'), "in the middle of a row"),
        ((HEADING + ROW).encode() + b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_an_invalid_catalog_is_refused_with_its_name(tmp_path, text, message):
    with pytest.raises(CatalogError, match=message) as caught:
        read_catalog(catalog(tmp_path, text))
    assert str(tmp_path / "photos.tsv000") in str(caught.value)


def test_columns_are_found_by_name_and_malformed_rows_are_reported(tmp_path):
    heading = "\ufeff" + "\t".join(reversed(COLUMNS)) + "\textra\n"
    cells = ["l", "f", "u", "line\n", "2", "3", "https://x/a", "p", "0012", "e"]
    rows = [
        '"' + '"\t"'.join(cells) + '"\n',
        "a\tb\n",
        '"' + '"\t"'.join([*cells[:-2], "12", "e"]) + '"\n',
    ]
    found, notes = read_catalog(catalog(tmp_path, heading + "".join(rows)))
    assert [row.id for row in found] == ["0012", "12"]  # text, not numbers
    assert (found[0].width, found[0].height, found[0].name) == (3, 2, "f l")
    assert notes == ["1 rows have another number of columns"]


@pytest.mark.parametrize("damage", ["cut", "crc", "other", "none"])
def test_a_damaged_or_wrong_archive_is_refused(tmp_path, damage):
    path = tmp_path / "lite.zip"
    with zipfile.ZipFile(path, "w") as archive:
        name = "keywords.tsv000" if damage == "other" else "photos.tsv000"
        archive.writestr(name, HEADING + ROW)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-30]
    if damage == "crc":
        data[data.index(b"images")] ^= 1
    path.write_bytes(data)
    if damage == "none":
        path.unlink()
    message = {"other": "no photos.tsv", "none": "no such archive"}.get(damage, "damaged .*zip")
    with pytest.raises(CatalogError, match=message):
        read_catalog(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog_module, "_LARGEST_CATALOG", 1000)
    path = tmp_path / "lite.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photos.tsv000", HEADING + ROW * 1000)
    with pytest.raises(CatalogError, match="would unpack to more than"):
        read_catalog(path)


def test_a_hostile_catalog_writes_nothing_outside_the_folder(tmp_path):
    ids = ["../../escape", "/etc/escape", "a/b", "..", "a" * 300, "nul\0", "ok_-1", "OK_-1"]
    with FakeUnsplash(1) as servers:
        row = servers.row("id-00000")
        lines = [HEADING]
        for photo_id in ids:
            told = row | {"photo_id": photo_id, "photo_description": "d"}
            lines.append("\t".join(told[column] for column in COLUMNS) + "\n")
        for url in (
            "http://192.0.2.1/photo-id-00000",
            f"{servers.origin}@192.0.2.1/p",
            "file:///p",
        ):
            told = row | {"photo_id": f"u{len(lines)}", "photo_description": "d"}
            told["photo_image_url"] = url
            lines.append("\t".join(told[column] for column in COLUMNS) + "\n")
        path = tmp_path / "photos.tsv000"
        path.write_text("".join(lines))
        out = tmp_path / "in" / "here"
        manifest = download(out, servers, source=path)
        assert servers.photo_requests() == {"id-00000": 2}
    states = Counter(entry.state for entry in manifest.entries.values())
    assert states == {"good": 1, "duplicate": 1, "bad": 9}
    written = {p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file()}
    assert all(Path("in/here") in p.parents for p in written - {Path("photos.tsv000")})
    assert photo_path("ok_-1").lower() != photo_path("OK_-1").lower()


def test_threads_end_with_the_download(tmp_path):
    before = threading.active_count()
    with FakeUnsplash(5) as servers:
        download(tmp_path, servers)
    time.sleep(0.2)
    assert threading.active_count() <= before + 1


# Reported by users.


def test_a_catalog_is_unpacked_completely_or_not_at_all(tmp_path):
    with FakeUnsplash(20) as servers:
        text = servers.catalog()
        heading, rows = text.split("\n", 1)
        cut = rows.index("id-00010")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("photos.tsv000", f"{heading}\n{rows[:cut]}")
            archive.writestr("photos.tsv001", f"{heading}\n{rows[cut:]}")
        servers.__dict__["archive"] = file.getvalue()
        with disk_full_at("photos.tsv001"), pytest.raises(OSError, match="No space left"):
            download(tmp_path, servers)
        assert download(tmp_path, servers).counts() == {"good": 20}
        assert servers.requests["/archive.zip"] == 1


def test_a_complete_archive_of_a_killed_download_is_not_fetched_again(tmp_path):
    with FakeUnsplash(5) as servers:
        place = tmp_path / "catalog"
        place.mkdir()
        (place / ".latest.zip.part").write_bytes(servers.archive)
        assert download(tmp_path, servers).counts() == {"good": 5}
        assert servers.requests["/archive.zip"] == 1  # which answered that nothing is left


def test_photos_are_usable_after_the_network_breaks_down(tmp_path, monkeypatch):
    monkeypatch.setattr(unsplash, "_MAX_FAILURES_IN_A_ROW", 5)
    with FakeUnsplash(60) as servers:
        servers.kinds = dict.fromkeys(servers.ids[30:], "broken")
        with pytest.raises(ConnectionError, match="5 failures in a row"):
            download(tmp_path, servers)
        counts = Manifest(tmp_path).counts()
        assert counts["good"] >= 20 and not counts["new"]
        assert len((tmp_path / "CREDITS.csv").read_text().splitlines()) == 1 + counts["good"]
        assert PhotoFolder(tmp_path).select("train").photos


def test_scattered_failures_and_known_bad_photos_do_not_stop_it(tmp_path, monkeypatch):
    monkeypatch.setattr(unsplash, "_MAX_FAILURES_IN_A_ROW", 5)
    monkeypatch.setattr(unsplash, "_MAX_BAD_IN_A_ROW", 5)
    monkeypatch.setattr(unsplash, "_PASSES", 2)
    with FakeUnsplash(60) as servers:
        kinds = {servers.ids[i]: "broken" if i % 16 else "403" for i in range(0, 60, 8)}
        servers.kinds = kinds
        for retry in (False, True):
            counts = download(tmp_path, servers, retry=retry).counts()
            assert counts == {"good": 52, "failed": 4, "bad": 4}


def test_failures_with_photos_between_them_are_not_in_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(unsplash, "_MAX_FAILURES_IN_A_ROW", 3)
    with FakeUnsplash(15) as servers:
        servers.kinds = dict.fromkeys(servers.ids[::3], "broken")
        manifest = lite(tmp_path, servers, workers=1).download(progress=False)
        assert manifest.counts() == {"good": 10, "failed": 5}


@pytest.mark.parametrize("url", ["https://[bad/x", "", "no address", "//"])
def test_an_invalid_address_is_a_bad_photo(tmp_path, url):
    with FakeUnsplash(2) as servers:
        text = servers.catalog().replace(f"{servers.origin}/photo-id-00001", url)
        path = tmp_path / "photos.tsv000"
        path.write_text(text)
        counts = download(tmp_path / "out", servers, source=path).counts()
        assert counts == {"good": 1, "bad": 1}


def test_credits_of_existing_photos_are_kept(tmp_path):
    with FakeUnsplash(9) as servers:
        download(tmp_path, servers)
        whole = (tmp_path / "CREDITS.csv").read_text()
        download(tmp_path, servers, limit=2)
        assert (tmp_path / "CREDITS.csv").read_text() == whole


def test_a_split_is_kept_if_a_file_is_lost_and_its_photographer_is_renamed(tmp_path):
    with FakeUnsplash(12) as servers:
        first = download(tmp_path, servers)
        text = servers.catalog().replace("person", "renamed")
        path = tmp_path / "photos.tsv000"
        path.write_text(text)
        for entry in first.entries.values():
            (tmp_path / entry.file).unlink()
        again = download(tmp_path, servers, source=path)
        assert {e.id: e.split for e in again.entries.values()} == {
            e.id: e.split for e in first.entries.values()
        }


def test_the_catalog_of_an_older_version_is_reused(tmp_path):
    with FakeUnsplash(4) as servers:
        first = download(tmp_path, servers)
        (tmp_path / "catalog").rename(tmp_path / "catalogue")  # its name in version 0.1
        requests = servers.requests.copy()
        assert download(tmp_path, servers).entries == first.entries
        assert servers.requests == requests and not (tmp_path / "catalog").exists()
