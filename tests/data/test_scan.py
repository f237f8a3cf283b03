import gzip
import os
import tarfile
from itertools import pairwise

import pytest
from fresh import fresh
from pictures import encoded, picture, save, shard

from tutelage.data import shards
from tutelage.data.sources import check_apart, joined, scan, scan_domains
from tutelage.types import BadInput

PNG = encoded(picture())


def found(scanned):
    return {image.id: image.label for image in scanned.found}


def refused(scanned):
    return {refusal.id: refusal.reason for refusal in scanned.refused}


def scanned_by_processes(root):
    shards._MANY = 1
    return scan(root, "train", "labelled")


def denied():
    raise PermissionError(13, "Permission denied")


class TestFolders:
    def test_a_folder_is_a_class_at_any_depth(self, tmp_path):
        for name in ("cat/1.png", "cat/more/2.PNG", "dog/1.jpeg", "dog/2.jfif"):
            save(tmp_path / "train" / name, PNG)
        (tmp_path / "train/empty").mkdir()
        scanned = scan(tmp_path, "train", "labelled")
        assert found(scanned) == {
            "labelled/cat/1.png": "cat", "labelled/cat/more/2.PNG": "cat", "labelled/dog/1.jpeg": "dog",
            "labelled/dog/2.jfif": "dog",
        }  # fmt: skip
        assert scanned.classes == {"cat", "dog", "empty"}  # the doctor shall see it
        assert scanned.root == (tmp_path / "train").as_posix()
        first = scanned.found[0]
        assert (first.path, first.offset, first.length) == ("cat/1.png", 0, len(PNG))

    def test_hidden_files_are_left_out_and_others_reported(self, tmp_path):
        for name in (".git/1.png", "cat/.1.png", "__MACOSX/cat/1.png", "cat/Thumbs.db", "cat/notes.txt", "stray.png"):
            save(tmp_path / "train" / name, PNG)
        scanned = scan(tmp_path, "train", "labelled")
        assert found(scanned) == {}
        assert scanned.classes == {"cat"}
        assert refused(scanned) == {"labelled/cat/notes.txt": "not_an_image", "labelled/stray.png": "unknown_label"}

    def test_a_pool_needs_no_folders(self, tmp_path):
        for name in ("1.png", "2024-05-01/2.png"):
            save(tmp_path / "pool" / name, PNG)
        scanned = scan(tmp_path, "pool", "pool")
        assert found(scanned) == {"pool/1.png": None, "pool/2024-05-01/2.png": "2024-05-01"}
        assert scanned.loose_labels  # a date is a label only if a class is called so

    def test_a_class_has_one_name_however_its_letters_are_encoded(self, tmp_path):
        one, two = "caf\u00e9", "cafe\u0301"  # as Linux and as macOS write it
        save(tmp_path / "train" / two / "1.png", PNG)
        (tmp_path / "test.csv").write_text(f"image,label\ntrain/{two}/1.png,{two}\n", "utf-8")
        (tmp_path / "tar").mkdir()
        shard(tmp_path / "tar/a.tar", {"1.png": PNG, "1.cls": two})
        (tmp_path / "tar/classes.txt").write_text(f"{one}\ndog\n", "utf-8")
        for name, source in (("train", "labelled"), ("test.csv", "test"), ("tar", "labelled")):
            scanned = scan(tmp_path, name, source)
            assert set(found(scanned).values()) == {one}
            assert scanned.classes <= {one, "dog"}

    def test_a_space_at_the_end_of_a_folders_name_makes_no_other_class(self, tmp_path):
        for name in ("cat/1.png", "cat /2.png", " /3.png"):
            save(tmp_path / "train" / name, PNG)
        scanned = scan(tmp_path, "train", "labelled")
        assert found(scanned) == {"labelled/cat/1.png": "cat", "labelled/cat /2.png": "cat"}
        assert scanned.classes == {"cat"}
        assert [each.detail for each in scanned.refused] == ["it lies in no class folder"]

    def test_links_may_not_leave_the_root(self, tmp_path):
        secret = save(tmp_path / "secret/1.png", PNG)
        shared = save(tmp_path / "root/all/2.png", PNG)
        train = tmp_path / "root/train/cat"
        train.mkdir(parents=True)
        (train / "out.png").symlink_to(secret)
        (train / "in.png").symlink_to(shared)
        (train / "next.png").symlink_to(save(tmp_path / "root-next/1.png", PNG))  # its path begins like the root's
        (train / "lost.png").symlink_to(tmp_path / "root/nowhere.png")
        (tmp_path / "root/train/dog").symlink_to(secret.parent)
        (train / "loop").symlink_to(train)
        os.mkfifo(train / "pipe.png")  # opening it would wait for ever
        scanned = scan(tmp_path / "root", "train", "labelled")
        assert found(scanned) == {"labelled/cat/in.png": "cat"}
        assert refused(scanned) == {
            "labelled/cat/next.png": "outside_root", "labelled/cat/out.png": "outside_root",
            "labelled/dog": "outside_root",
            "labelled/cat/lost.png": "unreadable", "labelled/cat/loop": "unreadable",
            "labelled/cat/pipe.png": "unreadable",
        }  # fmt: skip

    def test_a_folder_that_many_links_lead_to_is_read_once_for_each_class(self, tmp_path):
        """Of two links in each folder to the next one, a thousand paths would lead to the eleventh."""
        folders = [tmp_path / f"train/d{number:02}" for number in range(11)]
        save(folders[-1] / "1.png", PNG)
        for folder, following in pairwise(folders):
            folder.mkdir()
            for name in "ab":
                (folder / name).symlink_to(following)
        scanned = scan(tmp_path, "train", "labelled")
        assert sorted(found(scanned).values()) == [folder.name for folder in folders]
        assert f"labelled/d00/{'a/' * 10}1.png" in found(scanned)
        assert refused(scanned)["labelled/d00/b"] == "unreadable"
        assert "labelled/d00/a" not in refused(scanned)

    def test_names_that_are_not_utf8_are_refused(self, tmp_path):
        (tmp_path / "pool").mkdir()
        with open(os.fsencode(tmp_path / "pool") + b"/caf\xe9.png", "wb") as file:
            file.write(PNG)
        assert refused(scan(tmp_path, "pool", "pool")) == {"pool/caf\\xe9.png": "unreadable"}

    @pytest.mark.parametrize("name", ["../elsewhere", "/etc", "link"])
    def test_a_source_may_not_lie_elsewhere(self, tmp_path, name):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "root").mkdir()
        (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadInput, match=r"ingest\.labelled is .* leads out of ingest\.root"):
            scan(tmp_path / "root", name, "labelled")

    def test_what_is_there_is_said_when_a_source_is_missing(self, tmp_path):
        (tmp_path / "training").mkdir()
        with pytest.raises(BadInput, match="there is: training"):
            scan(tmp_path, "train", "labelled")

    def test_forms_that_cannot_be_guessed_are_asked_about(self, tmp_path):
        save(tmp_path / "flat/1.png", PNG)
        with pytest.raises(BadInput, match="no class folder"):
            scan(tmp_path, "flat", "labelled")
        with pytest.raises(
            BadInput, match=r"If nobody has labelled these images, call .* pool, or write ingest.test: "
        ):
            scan(tmp_path, "flat", "test")
        (tmp_path / "flat/labels.csv").write_text("image,label\n1.png,cat\n")
        with pytest.raises(BadInput, match=r"Did you mean ingest\.labelled: flat/labels\.csv"):
            scan(tmp_path, "flat", "labelled")
        shard(tmp_path / "flat/s.tar", {"1.png": PNG})
        with pytest.raises(BadInput, match="loose images"):
            scan(tmp_path, "flat", "labelled")
        (tmp_path / "labels.json").write_text("{}")
        with pytest.raises(BadInput, match=r"write a folder, a \.csv or a \.tar"):
            scan(tmp_path, "labels.json", "labelled")

    def test_sources_lie_apart(self, tmp_path):
        save(tmp_path / "all/cat/1.png", PNG)
        save(tmp_path / "all/pool/2.png", PNG)
        (tmp_path / "labels.csv").write_text("image,label\nall/cat/1.png,cat\n")
        pool, csv = scan(tmp_path, "all/pool", "pool"), scan(tmp_path, "labels.csv", "test")
        with pytest.raises(BadInput, match=r"ingest\.pool .* lies inside ingest\.labelled"):
            check_apart([scan(tmp_path, "all", "labelled"), pool, csv])
        check_apart([scan(tmp_path, "all", "pool"), csv])  # a CSV says which images it means

    def test_single_shards_may_lie_side_by_side_but_one_is_not_two_sources(self, tmp_path):
        for name in ("train", "test"):
            shard(tmp_path / f"{name}.tar", {"1.png": PNG, "1.cls": "0"})
        train, test = scan(tmp_path, "train.tar", "labelled"), scan(tmp_path, "test.tar", "test")
        check_apart([train, test])
        with pytest.raises(BadInput, match=r"ingest\.labelled .* lies inside ingest\.pool"):
            check_apart([train, scan(tmp_path, "train.tar", "pool")])


class TestTables:
    @pytest.fixture
    def root(self, tmp_path):
        for name in ("img/1.png", "img/2, b.png", "img/3.png"):
            save(tmp_path / "root" / name, PNG)
        return tmp_path / "root"

    def scan(self, root, text, source="labelled"):
        data = text if isinstance(text, bytes) else text.encode()
        (root / "labels.csv").write_bytes(data)
        return scan(root, "labels.csv", source)

    def test_rows_name_images_beside_the_csv(self, root):
        scanned = self.scan(
            root, 'label,image,who\ncat,img/1.png,ann\n\n dog , "img/2, b.png",bo\n'.replace(', "', ',"')
        )
        assert found(scanned) == {"labelled/img/1.png": "cat", "labelled/img/2, b.png": "dog"}
        assert scanned.root == root.as_posix()
        assert scanned.classes == set()

    @pytest.mark.parametrize(
        "data",
        [
            b"image;label\nimg/1.png;cat\n",
            b"Image\tLABEL\r\nimg/1.png\tcat\r\n",
            b"\xef\xbb\xbfimage|label\nimg\\1.png|cat",
            "image,label\nimg/1.png,cat\n".encode("utf-16"),
            b"image,label\n./img/../img/1.png,cat\n",
        ],
        ids=["semicolon", "tab", "bar, mark and backslash", "utf-16", "roundabout path"],
    )
    def test_what_spreadsheets_write_is_read(self, root, data):
        assert found(self.scan(root, data)) == {"labelled/img/1.png": "cat"}

    def test_names_keep_their_letters(self, root):
        assert found(self.scan(root, "image,label\nimg/1.png,Kätzchen\n")) == {"labelled/img/1.png": "Kätzchen"}

    @pytest.mark.parametrize(
        ("data", "word"),
        [
            (b"image,label\nimg/1.png,caf\xe9\n", "line 2: not UTF-8"),
            (b"file,class\nimg/1.png,cat\n", "needs the column.s. image and label"),
            (b"image,image,label\n", "needs the column.s. image once"),
            (b"", "header is empty"),
            (b'image,label\n"img/1.png"x,cat\n', "near line 2"),
            (b'image,label\n"img/1.png,cat\n', "near line 2"),
            (b"image,label\nimg/1.png,cat,ty\n", "line 2: 3 cells under a header of 2"),
        ],
    )
    def test_what_cannot_be_read_is_said_with_its_line(self, root, data, word):
        with pytest.raises(BadInput, match=word):
            self.scan(root, data)

    def test_paths_may_not_leave_the_root(self, root):
        save(root.parent / "secret.png", PNG)
        (root / "link.png").symlink_to(root.parent / "secret.png")
        names = ["../secret.png", str(root.parent / "secret.png"), "link.png", "C:/secret.png", "img/../../secret.png"]
        scanned = self.scan(root, "image,label\n" + "".join(f"{name},cat\n" for name in names))
        assert found(scanned) == {}
        assert refused(scanned) == {f"labelled/{name}": "outside_root" for name in names}

    def test_paths_may_not_leave_the_csvs_folder_either(self, root):
        (root / "sub").mkdir()
        (root / "sub/labels.csv").write_text(f"image,label\n../img/1.png,cat\n{root}/img/1.png,cat\n")
        assert set(refused(scan(root, "sub/labels.csv", "labelled")).values()) == {"outside_root"}

    def test_a_whole_path_is_as_good_as_one_from_the_csvs_folder(self, root):
        (root.parent / "link").symlink_to(root)
        for at in (root, root.parent / "link"):
            names = [f"{root}/img/1.png", f"{at}/img/3.png", f"{root}/img/9.png", str(root)]
            (root / "labels.csv").write_text("image,label\n" + "".join(f"{name},cat\n" for name in names))
            scanned = scan(at, "labels.csv", "labelled")
            assert found(scanned) == {"labelled/img/1.png": "cat", "labelled/img/3.png": "cat"}
            assert refused(scanned) == {"labelled/img/9.png": "unreadable", "labelled/.": "unreadable"}

    def test_a_blank_behind_the_comma_is_none_of_the_label(self, root):
        scanned = self.scan(root, '"image", "label"\n"img/1.png", "cat, big"\nimg/3.png, dog\n')
        assert found(scanned) == {"labelled/img/1.png": "cat, big", "labelled/img/3.png": "dog"}

    def test_rows_that_lack_something_are_refused(self, root):
        scanned = self.scan(root, "image,label\nimg/1.png,\nimg/9.png,cat\n,cat\nimg/3.png\nimg,cat\na\0b.png,cat\n")
        assert refused(scanned) == {
            "labelled/img/1.png": "unknown_label", "labelled/img/9.png": "unreadable",
            "labelled/labels.csv:4": "unreadable", "labelled/img/3.png": "unknown_label", "labelled/img": "unreadable",
            "labelled/a\0b.png": "unreadable",
        }  # fmt: skip

    def test_a_pool_needs_no_labels(self, root):
        assert found(self.scan(root, "image\nimg/1.png\n", "pool")) == {"pool/img/1.png": None}
        labels = {"pool/img/1.png": None, "pool/img/3.png": "cat"}
        assert found(self.scan(root, "image,label\nimg/1.png,\nimg/3.png,cat\n", "pool")) == labels


class TestShards:
    def test_labels_lie_beside_images(self, tmp_path):
        shard(
            tmp_path / "train/a.tar",
            {
                "1.png": PNG, "1.cls": "1", "sub/1.jpg": PNG, "sub/1.cls": "cat\n", "2.json": '{"label": 0}',
                "2.png": PNG, "./3.png": PNG, "./3.json": '{"label": "dog"}', "3.txt": "a caption",
            },
        )  # fmt: skip
        (tmp_path / "train/classes.txt").write_text("cat\ndog\nbird\n\n")
        scanned = scan(tmp_path, "train", "labelled")
        assert found(scanned) == {
            "labelled/a.tar/1.png": "dog", "labelled/a.tar/sub/1.jpg": "cat", "labelled/a.tar/2.png": "cat",
            "labelled/a.tar/3.png": "dog",
        }  # fmt: skip
        assert scanned.refused == []
        assert scanned.classes == {"cat", "dog", "bird"}
        for image in scanned.found:
            data = (tmp_path / "train" / image.path).read_bytes()
            assert data[image.offset : image.offset + image.length] == PNG

    def test_without_a_list_the_label_is_the_name(self, tmp_path):
        shard(tmp_path / "train.tar", {"1.png": PNG, "1.cls": "7"})
        scanned = scan(tmp_path, "train.tar", "labelled")
        assert found(scanned) == {"labelled/train.tar/1.png": "7"}
        assert scanned.root == tmp_path.as_posix()

    def test_processes_find_what_one_finds(self, tmp_path):
        for number in range(5):
            shard(tmp_path / f"train/{number}.tar", {"1.png": PNG, "1.cls": str(number), "2.png": PNG})
        (tmp_path / "train/3.tar").write_bytes(b"torn" * 200)
        (tmp_path / "train/classes.txt").write_text("cat\ndog\nbird\nhen\n")
        one = scan(tmp_path, "train", "labelled")
        assert list(found(one).values()) == ["cat", "dog", "bird"]
        assert set(refused(one)) == {
            *(f"labelled/{n}.tar/2.png" for n in "0124"),
            "labelled/3.tar",
            "labelled/4.tar/1.png",
        }
        assert fresh(scanned_by_processes, tmp_path) == one

    def test_a_shard_that_may_not_be_read_is_reported(self, tmp_path, monkeypatch):
        shard(tmp_path / "pool/a.tar", {"1.png": PNG})
        shard(tmp_path / "pool/b.tar", {"1.png": PNG})
        opens = shards.tarfile.open
        monkeypatch.setattr(
            shards.tarfile, "open", lambda path, mode: opens(path, mode) if path.stem == "a" else denied()
        )
        scanned = scan(tmp_path, "pool", "pool")
        assert list(found(scanned)) == ["pool/a.tar/1.png"]
        assert [(each.id, each.reason, each.detail) for each in scanned.refused] == [
            ("pool/b.tar", "unreadable", "Permission denied")
        ]

    def test_each_folder_of_shards_has_its_own_list(self, tmp_path):
        for day, names in (("mon", "cat\ndog"), ("tue", "dog\ncat")):
            shard(tmp_path / "train" / day / "s.tar", {"1.png": PNG, "1.cls": "0"})
            (tmp_path / "train" / day / "classes.txt").write_text(names)
        labels = {"labelled/mon/s.tar/1.png": "cat", "labelled/tue/s.tar/1.png": "dog"}
        assert found(scan(tmp_path, "train", "labelled")) == labels

    @pytest.mark.parametrize(
        "label",
        [
            {}, {"1.cls": "3"}, {"1.cls": "-1"}, {"1.cls": ""}, {"1.cls": b"\xff"}, {"1.json": "[]"}, {"1.json": "{"},
            {"1.json": '{"label": true}'}, {"1.json": '{"label": null}'}, {"1.cls": "7" * 5000},
            {"1.json": r'{"label": "\ud800"}'}, {"1.json": f'{{"label": {"7" * 5000}}}'},
            {"1.json": '{"caption": "cat"}'},
        ],
    )  # fmt: skip
    def test_without_a_label_it_can_only_join_the_pool(self, tmp_path, label):
        shard(tmp_path / "s.tar", {"1.png": PNG, **label})
        (tmp_path / "classes.txt").write_text("cat\ndog\nbird")
        assert refused(scan(tmp_path, "s.tar", "labelled")) == {"labelled/s.tar/1.png": "unknown_label"}
        assert found(scan(tmp_path, "s.tar", "pool")) == {"pool/s.tar/1.png": None}

    @pytest.mark.parametrize("written", ["true", r'"\ud800"'])
    def test_what_is_no_text_is_no_class(self, tmp_path, written):
        shard(tmp_path / "s.tar", {"1.png": PNG, "1.json": f'{{"label": {written}}}'})
        assert refused(scan(tmp_path, "s.tar", "labelled")) == {"labelled/s.tar/1.png": "unknown_label"}

    def test_members_that_lead_elsewhere_are_refused(self, tmp_path):
        link, hard = tarfile.TarInfo("link.png"), tarfile.TarInfo("hard.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        hard.type, hard.linkname = tarfile.LNKTYPE, "1.png"
        members = {"1.png": PNG, "../up.png": PNG, "/root.png": PNG, "a/../../up2.png": PNG, "link": link, "hard": hard}
        scanned = scan(shard(tmp_path / "s.tar", members).parent, "s.tar", "pool")
        assert found(scanned) == {"pool/s.tar/1.png": None}
        assert set(refused(scanned).values()) == {"outside_root"}
        assert len(scanned.refused) == 5

    def test_masks_beside_an_image_are_no_images(self, tmp_path):
        shard(tmp_path / "s.tar", {"1.png": PNG, "1.mask.png": PNG, "photo.2024.png": PNG, ".hidden.png": PNG})
        scanned = scan(tmp_path, "s.tar", "pool")
        assert found(scanned) == {"pool/s.tar/1.png": None}
        assert refused(scanned) == {"pool/s.tar/photo.2024.png": "not_an_image"}

    def test_no_member_is_lost_without_a_word(self, tmp_path):
        members = {"1.png": PNG, "1.CLS": "\ufeffcat", "1.txt": "a cat", "notes.txt": "", "2.jxl": PNG, "2.cls": "dog"}
        members |= {"3.heic": PNG, "3.json": '{"label": "dog"}', "about.json": "{}"}
        shard(tmp_path / "s.tar", members)
        scanned = scan(tmp_path, "s.tar", "labelled")
        assert found(scanned) == {"labelled/s.tar/1.png": "cat"}
        assert refused(scanned) == {
            "labelled/s.tar/notes.txt": "not_an_image", "labelled/s.tar/2.jxl": "not_an_image",
            "labelled/s.tar/2.cls": "unreadable", "labelled/s.tar/3.heic": "not_an_image",
            "labelled/s.tar/3.json": "unreadable",
        }  # fmt: skip

    def test_numbers_that_are_names_of_other_lines_are_refused(self, tmp_path):
        shard(tmp_path / "s.tar", {"1.png": PNG, "1.cls": "0"})
        (tmp_path / "classes.txt").write_text("7\n0\n1\n")
        with pytest.raises(BadInput, match="line 2: the class is called 0, which as a label means the class of line 1"):
            scan(tmp_path, "s.tar", "labelled")
        (tmp_path / "classes.txt").write_text("0\n1\n17\n")
        assert found(scan(tmp_path, "s.tar", "labelled")) == {"labelled/s.tar/1.png": "0"}

    def test_a_cut_shard_gives_what_is_whole(self, tmp_path):
        path = shard(tmp_path / "s.tar", {f"{n}.png": PNG for n in range(4)})
        size = next(image.offset for image in scan(tmp_path, "s.tar", "pool").found if image.id.endswith("2.png"))
        path.write_bytes(path.read_bytes()[: size + 5])
        scanned = scan(tmp_path, "s.tar", "pool")
        assert list(found(scanned)) == [
            "pool/s.tar/0.png",
            "pool/s.tar/1.png",
            "pool/s.tar/2.png",
        ]  # the third is short
        assert refused(scanned) == {"pool/s.tar": "truncated"}

    def test_a_shard_whose_member_has_a_negative_size_is_refused_once(self, tmp_path, monkeypatch):
        """Reading goes back to a member before, and found it again for ever."""
        path, back = shard(tmp_path / "s.tar", {"1.png": PNG}), tarfile.TarInfo("2.png")
        back.pax_headers = {"size": "-1536"}  # two headers and a block of records
        data = path.read_bytes().rstrip(b"\0")
        data += bytes(-len(data) % 512)
        path.write_bytes(data + back.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
        notes, note = [], shards._note

        def counted(*of):
            assert len(notes) < 10, "the shard has two members"
            notes.append(note(*of))

        monkeypatch.setattr(shards, "_note", counted)
        scanned = scan(tmp_path, "s.tar", "pool")
        assert found(scanned) == {"pool/s.tar/1.png": None}
        assert [(each.id, each.reason) for each in scanned.refused] == [("pool/s.tar", "unreadable")]
        assert "negative" in scanned.refused[0].detail

    def test_shards_that_were_joined_by_cat_are_told(self, tmp_path):
        first, second = (shard(tmp_path / f"{n}.tar", {f"{n}.png": PNG}) for n in "ab")
        (tmp_path / "s.tar").write_bytes(first.read_bytes() + second.read_bytes())
        scanned = scan(tmp_path, "s.tar", "pool")
        assert found(scanned) == {"pool/s.tar/a.png": None}
        assert refused(scanned) == {"pool/s.tar": "unreadable"}
        assert "joined by `cat`" in scanned.refused[0].detail
        assert refused(scan(tmp_path, "a.tar", "pool")) == {}

    def test_a_member_that_a_shard_has_twice_is_the_last_with_its_label(self, tmp_path):
        path = shard(tmp_path / "s.tar", {"1.png": PNG, "1.cls": "cat"})
        before = scan(tmp_path, "s.tar", "labelled").found[0].offset
        with tarfile.open(path, "a") as tar:
            for name in ("1.png", "1.cls"):
                save(tmp_path / name, PNG if name == "1.png" else b"dog")
                tar.add(tmp_path / name, name)
        scanned = scan(tmp_path, "s.tar", "labelled")
        assert found(scanned) == {"labelled/s.tar/1.png": "dog"}
        assert scanned.found[0].offset > before + len(PNG)

    @pytest.mark.parametrize(("data", "reason"), [(b"", "truncated"), (b"no tar at all" * 512, "unreadable")])
    def test_what_is_no_tar_is_refused(self, tmp_path, data, reason):
        (tmp_path / "s.tar").write_bytes(data)
        assert refused(scan(tmp_path, "s.tar", "pool")) == {"pool/s.tar": reason}

    @pytest.mark.parametrize("text", ["cat\n\ndog\n", "cat\ncat\n"])
    def test_a_class_list_names_each_class_once(self, tmp_path, text):
        shard(tmp_path / "s.tar", {"1.png": PNG})
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(BadInput, match=r"classes\.txt has a blank line or names a class twice"):
            scan(tmp_path, "s.tar", "pool")

    def test_compressed_shards_are_explained(self, tmp_path):
        save(tmp_path / "pool/s.tar.gz", b"")
        with pytest.raises(BadInput, match="is compressed"):
            scan(tmp_path, "pool", "pool")
        with pytest.raises(BadInput, match="is compressed"):
            scan(tmp_path, "pool/s.tar.gz", "pool")
        packed = gzip.compress(shard(tmp_path / "more/s.tar", {"1.png": PNG}).read_bytes())
        (tmp_path / "more/s.tar").write_bytes(packed)
        [refusal] = scan(tmp_path, "more", "pool").refused
        assert (refusal.id, refusal.reason) == ("pool/s.tar", "unreadable")
        assert refusal.detail == "it is compressed, whatever its name. Unpack it with `gunzip`"


class TestDomains:
    def test_a_table_may_say_of_which_domain_an_image_is(self, tmp_path):
        for name in ("1.png", "2.png", "3.png"):
            save(tmp_path / name, PNG)
        (tmp_path / "t.csv").write_text("Domain,image,label\nnight,1.png,cat\n,2.png,cat\n fog ,3.png,dog\n")
        assert [image.domain for image in scan(tmp_path, "t.csv", "labelled").found] == ["night", "", "fog"]

    def test_folders_shards_and_tables_are_joined_under_one_root(self, tmp_path):
        save(tmp_path / "day/cat/1.png", PNG)
        save(tmp_path / "day/cat/notes.txt", b"")
        shard(tmp_path / "dusk/0.tar", {"1.png": PNG, "1.cls": b"dog"})
        save(tmp_path / "night.png", PNG)
        (tmp_path / "t.csv").write_text("image,label\nnight.png,owl\n")
        names = {"at day": "day", "at dusk": "dusk", "at night": "t.csv"}
        whole = joined(scan_domains(tmp_path, names, "labelled"), tmp_path)
        assert [(image.id, image.path, image.label, image.domain) for image in whole.found] == [
            ("labelled/day/cat/1.png", "day/cat/1.png", "cat", "at day"),
            ("labelled/dusk/0.tar/1.png", "dusk/0.tar", "dog", "at dusk"),
            ("labelled/night.png", "night.png", "owl", "at night"),
        ]
        assert (whole.root, whole.classes) == (tmp_path.as_posix(), {"cat"})
        assert refused(whole) == {"labelled/day/cat/notes.txt": "not_an_image"}

    def test_two_domains_are_no_one_folder(self, tmp_path):
        save(tmp_path / "day/cat/1.png", PNG)
        with pytest.raises(BadInput, match="lies inside"):
            check_apart([*scan_domains(tmp_path, {"day": "day", "night": "day"}, "labelled").values()])
