"""Loading a recipe: YAML 1.2, complete and helpful errors, overrides, and the way back to text."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from phi3k_trainer.errors import MissingInputError, RecipeError
from phi3k_trainer.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_schema, recipe_sha256

SMALL = """\
apiVersion: phi3k/v1
name: small
model:
  base: tiny
data:
  source: sample
  answer: "Product: {title}"
"""


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, overrides=overrides)
    assert caught.value.exit_code == 78
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_what_is_not_said_has_its_default() -> None:
    recipe = parse_recipe(SMALL)
    assert recipe.tuning.method == "lora"
    assert recipe.training.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2e-4", 2e-4),
        ("2E4", 2e4),
        (".5", 0.5),
        ("1.", 1.0),
        ("+1.5e-3", 1.5e-3),
        ("3", 3.0),
        ("0x10", 16),
        ("0o17", 15),
    ],
)
def test_numbers_are_those_of_yaml_1_2(written: str, value: float) -> None:
    assert parse_recipe(SMALL + f"training: {{learning_rate: {written}}}").training.learning_rate == value


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "N", "2001-12-14", "1_000", "190:20:30", "0b11", "<<"])
def test_words_that_yaml_1_1_would_reinterpret_stay_text(word: str) -> None:
    assert parse_recipe(SMALL.replace('"Product: {title}"', word)).data.answer == word


@pytest.mark.parametrize(("written", "value"), [("true", True), ("FALSE", False), ("True", True)])
def test_booleans(written: str, value: bool) -> None:
    assert parse_recipe(SMALL + f"evaluation: {{blind: {written}}}").evaluation.blind is value


@pytest.mark.parametrize("written", ["null", "~", "", "Null"])
def test_null(written: str) -> None:
    assert parse_recipe(SMALL + f"checkpoint: {{every_minutes: {written}}}").checkpoint.every_minutes is None


def test_activation_checkpointing_can_be_switched_on_without_quotes() -> None:
    assert parse_recipe(SMALL + "training: {activation_checkpointing: on}").training.activation_checkpointing == "on"


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_name() -> None:
    assert problems(SMALL + "training:\n  learnig_rate: 1e-4\n") == [
        "line 9, training.learnig_rate: unknown key; did you mean learning_rate?"
    ]


def test_a_key_in_the_wrong_section_is_told_where_it_belongs() -> None:
    assert problems(SMALL + "learning_rate: 1e-4\n") == [
        "line 8, learning_rate: unknown key; did you mean training.learning_rate?"
    ]


def test_a_key_like_no_other_is_answered_with_the_valid_ones() -> None:
    (problem,) = problems(SMALL + "cluster: {cache: {claim: a, zzzzz: 1}}")
    assert problem.startswith("line 8, cluster.cache.zzzzz: unknown key; valid here: claim, size")


def test_a_wrong_choice_lists_the_choices_and_the_nearest() -> None:
    (problem,) = problems(SMALL.replace("source: sample", "source: smaple"))
    assert problem.startswith("line 6, data.source: should be one of 'csv', 'jsonl'")
    assert problem.endswith("not 'smaple'; did you mean sample?")


def test_values_are_not_coerced() -> None:
    found = problems(SMALL + "training: {seed: '1', max_steps: 1.5, learning_rate: true}\nevaluation: {blind: 1}")
    assert [problem.split(":")[0] for problem in found] == [
        "line 8, training.learning_rate",
        "line 8, training.max_steps",
        "line 8, training.seed",
        "line 9, evaluation.blind",
    ]


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = "name: Bad_Name\nmodel: {base: tiny, num_crops: 0}\ndata:\n  source: csv\n  source: hf\nseed: 3\n"
    found = problems(text)
    assert [problem.split(": ")[0] for problem in found] == [
        "line 1, apiVersion",
        "line 1, name",
        "line 2, model.num_crops",
        "line 3, data",
        "line 5, data.source",
        "line 6, seed",
    ]


def test_a_duplicate_key_names_both_lines() -> None:
    assert problems(SMALL + "name: again\n") == ["line 8, name: this key appears twice: it is already on line 2"]


def test_a_rule_between_fields_is_explained_at_the_section() -> None:
    assert problems(SMALL + "tuning: {method: full, vision: lora}") == [
        "line 8, tuning: method 'full' trains no adapters: set vision and projector to 'frozen' or 'full'"
    ]


def test_the_members_of_a_union_make_one_sentence() -> None:
    assert problems(SMALL + "  image: 5\n") == ["line 8, data.image: should be a valid string or be a list, not 5"]


def test_a_list_item_is_named_by_its_position() -> None:
    assert problems(SMALL + "cluster:\n  tolerations:\n  - key: a\n  - kye: b\n") == [
        "line 11, cluster.tolerations[1].kye: unknown key; did you mean key?"
    ]


def test_infinite_numbers_are_refused() -> None:
    (problem,) = problems(SMALL + "training: {learning_rate: .inf}")
    assert problem == "line 8, training.learning_rate: should be a finite number, not inf"


def test_an_override_wins_over_the_file() -> None:
    recipe = parse_recipe(SMALL + "training: {seed: 1}", overrides=["training.seed=2", "training.learning_rate=1e-3"])
    assert (recipe.training.seed, recipe.training.learning_rate) == (2, 1e-3)


def test_an_override_is_read_as_yaml() -> None:
    recipe = parse_recipe(SMALL, overrides=["tuning.targets=[o_proj]", "data.image=null", "data.system=a=b: c"[:13]])
    assert (recipe.tuning.targets, recipe.data.image, recipe.data.system) == (("o_proj",), None, "a")


def test_the_value_of_an_override_may_hold_equal_signs() -> None:
    assert parse_recipe(SMALL, overrides=["data.path=x?a=b"]).data.path == "x?a=b"


def test_an_override_may_name_a_free_key_with_dots() -> None:
    recipe = parse_recipe(SMALL, overrides=["cluster.node_selector.nvidia.com/gpu.product=H100"])
    assert recipe.cluster.node_selector == {"nvidia.com/gpu.product": "H100"}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.seed=x", "--set training.seed=x, training.seed: should be a valid integer, not 'x'"),
        ("trainng.seed=1", "--set trainng.seed=1, trainng: unknown key; did you mean training?"),
        ("training.sede=1", "--set training.sede=1, training.sede: unknown key; did you mean seed?"),
        ("training.seed", "--set training.seed: should be written as section.field=value"),
        ("=1", "--set =1: should be written as section.field=value"),
        ("name.x=1", "--set name.x=1: name is a plain value: set it as a whole"),
        ("training.seed=[1", "--set training.seed=[1: not valid YAML"),
    ],
)
def test_a_bad_override_is_named_as_it_was_typed(override: str, complaint: str) -> None:
    (problem,) = problems(SMALL, override)
    assert problem.startswith(complaint)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n", "should be a mapping"),
        ("just text", "should be a mapping"),
        ("a: [1,\n", "not valid YAML"),
        ("a: 'x\n", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("a: 1\n\tb: 2", "line 2: not valid YAML"),
        ("a: 1\n---\nb: 2", "line 2: not valid YAML"),
        ("%YAML 9.9\n--- {}", "not valid YAML"),
        ("a: *nowhere", "not valid YAML"),
        ("? [a]\n: b", "a key must be plain text"),
        ("!!python/object/apply:os.system [true]", "tag !!python/object/apply:os.system is not allowed"),
        ("a: !!python/name:os.system x", "tag !!python/name:os.system is not allowed"),
        ("a: !secret x", "tag !secret is not allowed"),
        ("a: !!int x", "does not fit its tag"),
        ("a: " + "9" * 5000, "a number of 5000 characters"),
        ("a: " + "[" * 100_000, "levels deep"),
        ("{a: " * 5_000, "levels deep"),
        ("- " * 5_000, "levels deep"),
        ("a: &a [*a]", "aliases"),
        ("a: &a {b: *a}", "aliases"),
        ("x" * 600_000, "600000 characters"),
    ],
)
def test_a_document_that_is_no_recipe_is_one_plain_error(text: str, complaint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    assert complaint in str(caught.value)


def test_aliases_cannot_multiply_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    start = time.perf_counter()
    with pytest.raises(RecipeError, match="aliases"):
        parse_recipe("\n".join(lines))
    assert time.perf_counter() - start < 5


def test_an_alias_used_plainly_is_fine() -> None:
    recipe = parse_recipe(SMALL + "cluster:\n  cache: &c {claim: a}\n  runs: *c\n")
    assert recipe.cluster.runs.claim == "a"


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(text)


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no-such\.yaml: No such file") as caught:
        load_recipe(tmp_path / "no-such.yaml")
    assert caught.value.exit_code == 66


def test_a_directory_is_not_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="Is a directory"):
        load_recipe(tmp_path)


def test_a_binary_file_is_not_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(tmp_path / "a.yaml")


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL + "x: 1\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml: 1 problem"):
        load_recipe(file)


names = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
# No lone surrogates: they are not text, and pydantic refuses them.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.sampled_from(
    [
        "on",
        "2e-4",
        "null",
        "~",
        "1_0",
        "0o7",
        "0x1F",
        "true",
        ".inf",
        "1:30",
        "2001-01-01",
        "- a",
        "a: b",
        "#x",
        " a ",
        "\n",
    ]
)
templates = texts.map(lambda text: text.replace("{", "{{").replace("}", "}}"))
paths = texts.filter(lambda text: "://" not in text)  # an address has rules of its own
json_keys = texts.filter(lambda key: not key.endswith("?"))
finite = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    values: dict[str, Any] = {
        "apiVersion": "phi3k/v1",
        "name": draw(names),
        "model": {"base": draw(paths), "revision": draw(st.none() | texts)},
        "data": {
            "source": "csv",
            "path": draw(paths),
            "answer": draw(
                templates | st.dictionaries(json_keys, templates, min_size=1).map(lambda keys: {"json": keys})
            ),
            "prompt": draw(templates),
            "image": draw(st.none() | texts | st.lists(texts, max_size=3)),
        },
        "training": {"learning_rate": draw(finite), "epochs": draw(finite), "seed": draw(st.integers(min_value=0))},
        "cluster": {"node_selector": draw(st.dictionaries(texts, texts, max_size=3))},
    }
    return Recipe.model_validate(values)


@given(recipes())
@settings(max_examples=200, deadline=None)
def test_a_dumped_recipe_reads_back_unchanged(recipe: Recipe) -> None:
    again = parse_recipe(dump_recipe(recipe))
    assert again == recipe
    assert recipe_sha256(again) == recipe_sha256(recipe)


@given(recipes())
@settings(max_examples=50, deadline=None)
def test_a_dumped_recipe_means_the_same_to_a_yaml_1_1_reader(recipe: Recipe) -> None:
    assert yaml.safe_load(dump_recipe(recipe)) == recipe.model_dump(mode="json")


def test_a_dump_holds_every_field_in_force() -> None:
    recipe = parse_recipe(SMALL)
    dumped = yaml.safe_load(dump_recipe(recipe))
    assert list(dumped) == list(Recipe.model_fields)
    assert dumped["training"]["schedule"] == "cosine"


def test_the_hash_ignores_spelling_and_sees_values() -> None:
    other = "# comment\n" + SMALL.replace("base: tiny", "base: 'tiny'") + "training: {seed: 0}\n"
    assert recipe_sha256(parse_recipe(other)) == recipe_sha256(parse_recipe(SMALL))
    assert recipe_sha256(parse_recipe(SMALL, overrides=["training.seed=1"])) != recipe_sha256(parse_recipe(SMALL))


def test_the_schema_describes_every_section_and_refuses_unknown_keys() -> None:
    schema = recipe_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False


def test_every_field_of_the_schema_is_described() -> None:
    schema = recipe_schema()
    sections = {"Recipe": schema, **schema["$defs"]}
    missing = [
        f"{section}.{name}"
        for section, definition in sections.items()
        for name, field in definition["properties"].items()
        if "description" not in field
    ]
    assert missing == []


def test_sharded_four_bit_weights_are_refused_where_the_recipe_is_read() -> None:
    with pytest.raises(RecipeError, match=r"qlora.*fsdp.*training\.parallel"):
        parse_recipe(SMALL, overrides=["tuning.method=qlora", "training.parallel=fsdp"])


@pytest.mark.parametrize("width", [32, 96])
def test_a_width_that_four_bit_blocks_do_not_divide_is_refused_where_the_recipe_is_read(width: int) -> None:
    settings = ["model.base=tiny", f"model.tiny.hidden_size={width}"]
    parse_recipe(SMALL, overrides=[*settings, "tuning.method=lora"])
    with pytest.raises(RecipeError, match=rf"qlora.*blocks of 64.*model\.tiny\.hidden_size is {width}"):
        parse_recipe(SMALL, overrides=[*settings, "tuning.method=qlora"])
