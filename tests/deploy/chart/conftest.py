"""The objects of each variant; without Helm, tests that take them are skipped."""

import pytest

from tests.deploy.chart.rendering import Object, Variant, helm, render
from tests.deploy.chart.variants import VARIANTS


@pytest.fixture(scope="session")
def needs_helm() -> None:
    if helm() is None:
        pytest.skip("Helm is not here; `python -m deploy.check.tools helm` builds it with Go")


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.name)
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture
def objects(variant: Variant, needs_helm: None, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    return render(variant, tmp_path_factory.getbasetemp())
