"""What looks like a secret is no variable of a recipe; what only sounds like one is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3k_trainer.errors import RecipeError
from phi3k_trainer.recipe import Recipe, dump_recipe, parse_recipe, without_env
from phi3k_trainer.recipe.environment import looks_secret, ports

MINIMAL = """
apiVersion: phi3k/v1
name: demo
model: {base: tiny}
data: {source: sample, answer: "Product: {title}"}
"""
PASSWORD = "s3cr3t-Zq9"


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(MINIMAL, overrides=overrides)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_TOKEN",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET",
        "OPENAI_API_KEY",
        "COMET_APIKEY",
        "MLFLOW_TRACKING_PASSWORD",
        "PGPASSWORD",
        "DB_PASS",
        "MYSQL_PWD",
        "REDISCLI_AUTH",
        "GITHUB_PAT",
        "SENTRY_DSN",
        "GIT_CREDENTIALS",
        "SSH_PASSPHRASE",
        "aws_secret_access_key",
        "KEY",
        "TOKEN",
        "TOKEN_2",
    ],
)
def test_a_name_of_a_secret_is_refused_with_the_way_to_refer_to_it(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"cluster\.pod\.env_secrets\.{name}: {{secret: NAME, key: KEY}}") as refusal:
        recipe(f"cluster.env.{name}={PASSWORD}")
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "4096"),
        ("TOKEN_LIMIT", "4096"),
        ("PAD_TOKEN", "<pad>"),
        ("NCCL_IB_PKEY", "7"),
        ("NCCL_DEBUG", "INFO"),
        ("KEYBOARD", "de"),
        ("MONKEY", "yes"),
        ("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring"),
        ("SORT_KEY", "price"),
        ("PUBLIC_KEY", "abc"),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
        ("HF_TOKEN_PATH", "/runs/token"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/secrets/key.json"),
        ("SECRETARY", "ann"),
        ("COMPASS", "north"),
        ("HF_HUB_ENABLE_HF_TRANSFER", "1"),
        ("LIBRARY", "hf_transfer"),
        ("IMAGE", "registry.example:5000/phi3k:1@sha256:" + "0" * 64),
        ("HF_ENDPOINT", "https://hub.corp:8443/api/hf?x=1"),
        ("MAIL", "ann@example.com"),
        ("GIT", "ssh://git@example.com/x.git"),
        ("COMMIT", "0123456789abcdef0123456789abcdef01234567"),
        ("TASK", "task-with-a-name-that-is-rather-long"),
    ],
)
def test_what_only_sounds_like_a_secret_is_let_through(name: str, value: str) -> None:
    assert recipe(f"cluster.env={json.dumps({name: value})}").cluster.env == {name: value}


@pytest.mark.parametrize(
    "value",
    [
        f"http://user:{PASSWORD}@proxy:3128",
        f"socks5h://user:{PASSWORD}@proxy:1080",
        f"postgres://ann:{PASSWORD}@db/x",
        f"https://{PASSWORD}@github.com/x.git",
        "hf_" + "aB3" * 11,
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "ghp_" + "aB3" * 12,
        "github_pat_" + "a1_" * 10,
        "glpat-" + "a" * 20,
        "xoxb-1234567890-abcdef",
        "sk-" + "a1" * 20,
        "AIza" + "a" * 35,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={PASSWORD}",
        "https://store.example/x?sv=1&sig=abcdefgh",
        'Authorization: "Bearer abcdefgh12345"',
        '{"type": "service_account", "private_key": "x"}',
    ],
)
def test_the_value_of_a_secret_is_refused_under_any_name(value: str) -> None:
    with pytest.raises(RecipeError, match="SETTING: it looks like a secret") as refusal:
        recipe(f"cluster.env={json.dumps({'SETTING': value})}")
    assert value not in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxys_password_without_a_scheme_is_one_too(name: str) -> None:
    with pytest.raises(RecipeError, match=r"looks like a secret.*cluster\.egress"):
        recipe(f"cluster.env.{name}='user:{PASSWORD}@proxy:3128'")


@pytest.mark.parametrize("name", ["a b", "A=B", "1A", "", "A\n", "ä", "{{ .Values }}"])
def test_what_cannot_be_a_variables_name_is_refused(name: str) -> None:
    for field in ({"env": {name: "x"}}, {"pod": {"env_secrets": {name: {"secret": "a", "key": "b"}}}}):
        with pytest.raises(RecipeError, match="can't be the name of a variable"):
            recipe(f"cluster={json.dumps(field)}")


@pytest.mark.parametrize("namespace", ["Team", "a_b", "../kube-system", "a" * 64, ""])
def test_what_cannot_be_a_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(RecipeError, match=r"cluster\.namespace"):
        recipe(f"cluster.namespace={json.dumps(namespace)}")


def test_a_value_of_another_type_is_not_printed() -> None:
    with pytest.raises(RecipeError, match=r"cluster\.env\.API_KEY") as refusal:
        recipe("cluster.env.API_KEY=735241")
    assert "735241" not in str(refusal.value)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("cluster.pod.env_secrets.HF_TOKEN={secret: a, key: b}", "cluster.hf_secret"),
        ("cluster.pod.env_secrets.A={secret: a}", r"env_secrets\.A\.key: is required"),
        ("cluster.pod.env_secrets.A={secret: a, keys: b}", "did you mean key"),
        ("cluster.pod.env_from=[{}]", "either a secret or a config_map"),
        ("cluster.pod.env_from=[{secret: a, config_map: b}]", "either a secret or a config_map"),
        ("cluster.pod.env_from=[{secret: A_B}]", "match"),
        ("cluster={env: {A: '1'}, pod: {env_secrets: {A: {secret: a, key: b}}}}", "both set A"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_refused(override: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        recipe(override)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("http://x:99999", "port"),
        (f"https://user:{PASSWORD}@wandb.example", "password"),
        ("wandb.example", "an address such as"),
        ("ftp://wandb.example", "an address such as"),
    ],
)
def test_a_trackers_address_that_cannot_be_used_is_refused(address: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=rf"tracking\.wandb\.base_url.*{problem}"):
        recipe(f"tracking.wandb.base_url={address}")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("HTTPS_PROXY", "proxy.corp:3128", [3128]),
        ("HTTPS_PROXY", "proxy:3128", [3128]),
        ("HTTPS_PROXY", "HTTP://proxy.corp:3128", [3128]),
        ("ALL_PROXY", "socks5h://proxy.corp:1081", [1081]),
        ("ALL_PROXY", "socks5://proxy.corp", [1080]),
        ("HTTPS_PROXY", "http://[fd00::1]:3128", [3128]),
        ("NO_PROXY", "api.corp:6443", []),
        ("HF_ENDPOINT", "https://hub.corp:8443/api/hf?x=1", [8443]),
        ("S3", "minio.corp:9000", [9000]),
        ("S3", "10.0.0.1:9000/bucket", [9000]),
        ("A", "http://a:1,http://b:2", [1, 2]),
        ("A", "see http://example:99 or", []),
        ("A", "12:30", []),
        ("A", "https://example/x", []),
        ("A", "", []),
    ],
)
def test_the_ports_of_addresses(name: str, value: str, found: list[int]) -> None:
    assert ports(name, value) == found


@pytest.mark.parametrize("value", ["http://x:99999", "http://x:0", "https://a:1,https://b:65536"])
def test_an_address_with_a_port_that_cannot_be_is_refused(value: str) -> None:
    with pytest.raises(RecipeError, match=r"can't set A: its address has a port that is not between 1 and 65535"):
        recipe(f"cluster.env={json.dumps({'A': value})}")


@given(st.dictionaries(st.from_regex(r"\A[A-Z]{1,8}\Z"), st.text(max_size=20)))
def test_what_is_written_elsewhere_has_no_variables(env: dict[str, str]) -> None:
    harmless = {name: value for name, value in env.items() if not looks_secret(name, value)}
    whole = recipe()
    whole = whole.model_copy(update={"cluster": whole.cluster.model_copy(update={"env": harmless})})
    assert dump_recipe(without_env(whole)) == dump_recipe(recipe())
