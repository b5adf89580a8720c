"""What the chart's tests share."""

import pytest

from tests.chart.charting import Helm
from tests.cluster.tools import HELM, build


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(build(HELM) / "helm", tmp_path_factory.mktemp("helm"))
