"""The conformance suites for authors of methods, games with known interactions, and small models.

::

    from hoi_captum.testing import GameConformance
    from my_package import MyMethod

    class TestMyMethod(GameConformance):
        method = MyMethod

pytest runs each check as a test. A check that a method does not pass, and need not, is waived by its name,
with the reason; a waived check that passes is reported. Needs pytest.
"""

from hoi_captum.testing import rewriting as _rewriting  # noqa: F401 - first: what follows is explained
from hoi_captum.testing.cases import Case
from hoi_captum.testing.families import (
    GameConformance,
    GradientConformance,
    LayerConformance,
    MethodConformance,
    SeveralModelsConformance,
)
from hoi_captum.testing.games import MultilinearGame, planted_pair, planted_triple, two_alike
from hoi_captum.testing.models import smooth_net, stateful_net, tiny_bert, tiny_cnn, tiny_llama, two_inputs

__all__ = [
    "Case",
    "GameConformance",
    "GradientConformance",
    "LayerConformance",
    "MethodConformance",
    "MultilinearGame",
    "SeveralModelsConformance",
    "planted_pair",
    "planted_triple",
    "smooth_net",
    "stateful_net",
    "tiny_bert",
    "tiny_cnn",
    "tiny_llama",
    "two_alike",
    "two_inputs",
]
