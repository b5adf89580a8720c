"""What every test shares: no defaults files, and in CI a skipped test is a failure, since CI has every part."""

import os

import pytest
from hypothesis import settings

# Whoever runs the tests may have defaults of their own; the commands that tests start inherit this.
os.environ["PHI3K_DEFAULTS"] = ""

# Machines are shared: how long an example takes says nothing. Hypothesis has a profile of its own for CI.
settings.register_profile("shared-machine", deadline=None)
if os.environ.get("CI") != "true":
    settings.load_profile("shared-machine")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
