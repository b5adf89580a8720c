"""What an address is, and what it leads to."""

import sys

import pytest

from phi3k_trainer.errors import DataError, MissingInputError, RecipeError
from phi3k_trainer.recipe import load_recipe
from phi3k_trainer.recipe.ready import ready_recipe
from phi3k_trainer.remote.addresses import checked, is_address, joined, parent
from phi3k_trainer.remote.folders import RemoteFolder
from phi3k_trainer.remote.mirror import _check_name


@pytest.mark.parametrize("text", ["rows.csv", "/data/rows.csv", "owner/name", "C:/rows.csv", None])
def test_a_path_or_a_hub_id_is_left_as_it_is(text: str | None) -> None:
    assert checked(text) == text
    assert not is_address(text)


def test_a_file_address_of_this_machine_is_a_path() -> None:
    assert checked("file:///data/rows.csv") == "/data/rows.csv"
    with pytest.raises(ValueError, match="another machine"):
        checked("file://server/rows.csv")


def test_the_scheme_is_written_in_lower_case_and_the_rest_as_it_is() -> None:
    assert checked("S3://Bucket/Rows.csv") == "s3://Bucket/Rows.csv"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://host/x", r"is an address \(ftp://\) of a kind that is not read"),
        ("https://host/x.csv", "Download it"),
        ("s3://", "without a bucket"),
        ("s3:///key", "without a bucket"),
        ("s3://key:secret@bucket/x", "credentials in it: give them through AWS_ACCESS_KEY_ID"),
    ],
)
@pytest.mark.parametrize("field", ["data.path", "data.image_root", "model.base"])
def test_what_cannot_be_read_is_refused_by_name(field: str, address: str, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"{field}: .*{words}"):
        load_recipe(ready_recipe("own-images"), [f"{field}={address}"])


def test_a_revision_is_of_the_hub() -> None:
    with pytest.raises(RecipeError, match=r"remove model\.revision"):
        load_recipe(ready_recipe("own-images"), ["model.base=s3://b/base", "model.revision=abc"])


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("s3://b/a/rows.csv", "s3://b/a"),
        ("s3://b/rows.csv", "s3://b"),
        ("s3://b/a/*/rows-?.csv", "s3://b/a"),
        ("s3://b/**/rows.csv", "s3://b"),
        ("s3://b", "s3://b"),
    ],
)
def test_the_folder_of_an_object_or_a_pattern(address: str, folder: str) -> None:
    assert parent(address) == folder


@pytest.mark.parametrize(
    ("folder", "relative", "address"),
    [
        ("s3://b/a", "x.png", "s3://b/a/x.png"),
        ("s3://b", "a/./x.png", "s3://b/a/x.png"),
        ("s3://b/a", "../c/x.png", "s3://b/c/x.png"),
        ("s3://b/a", "../../../../other/x.png", "s3://b/other/x.png"),
    ],
)
def test_a_relative_path_stays_in_its_bucket(folder: str, relative: str, address: str) -> None:
    assert joined(folder, relative) == address


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "", "a/\0", "."])
def test_an_object_is_never_copied_out_of_its_directory(name: str) -> None:
    with pytest.raises(DataError, match="no file below a directory can be named"):
        _check_name(name, "s3://b")


@pytest.mark.parametrize(("address", "extra"), [("s3://b/x", "s3"), ("gs://b/x", "gcs"), ("abfs://b/x", "azure")])
def test_a_package_that_is_missing_is_named(address: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, {"s3": "s3fs", "gcs": "gcsfs", "azure": "adlfs"}[extra], None)
    with pytest.raises(MissingInputError, match=rf"pip install 'phi3k\[{extra}\]'"):
        RemoteFolder(address)
