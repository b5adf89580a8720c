"""What the chart's tests share."""

import pytest
from tools.cluster.tools import HELM_AND_COREDNS, build

from tests.chart.charting import Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(build(HELM_AND_COREDNS) / "helm", tmp_path_factory.mktemp("helm"))
