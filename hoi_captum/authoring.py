"""What a method author needs, in one place: base classes, the pieces they hand out, and checks of options.

======================  ====================================================  ==============================
base class              for methods that                                      an author writes
======================  ====================================================  ==============================
CoalitionMethod         ask for v(T) of the coalitions they choose            ``_explain(game)``
GameMethod              need v(T) of all coalitions, of one or more models    ``_check``, ``_interactions``
DerivativeMethod        differentiate the model by its inputs                 ``_explain(gates, ...)``
GatedMethod             differentiate by units of inputs, attention, layers   ``_find`` and two readers
LayerMethod             learn from what a layer gives                         ``fit`` and both verbs
======================  ====================================================  ==============================
"""

from hoi_captum.core.coalition_method import CoalitionMethod, RowGame
from hoi_captum.core.cost import GRADIENT, REVERSE, Cost
from hoi_captum.core.derivative_method import DerivativeMethod
from hoi_captum.core.derivatives import gradient, hessian
from hoi_captum.core.files import read_safetensors, write_safetensors
from hoi_captum.core.gated_method import GatedMethod
from hoi_captum.core.gates import InputGates
from hoi_captum.core.interactions import Interactions
from hoi_captum.core.layer_method import LayerMethod, LayerRows
from hoi_captum.core.method import GameMethod, ValueTables
from hoi_captum.core.options import check_choice, check_count, check_flag, check_number
from hoi_captum.core.passes import PassSize
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.provenance import Provenance, describe_model
from hoi_captum.core.row_method import Answer, RowMethod
from hoi_captum.core.softplus import SoftplusForReLU
from hoi_captum.core.state import preserved_state
from hoi_captum.core.term import Term
from hoi_captum.hookspecs import hookimpl

__all__ = [
    "GRADIENT",
    "REVERSE",
    "Answer",
    "CoalitionMethod",
    "Cost",
    "DerivativeMethod",
    "GameMethod",
    "GatedMethod",
    "InputGates",
    "Interactions",
    "LayerMethod",
    "LayerRows",
    "PassSize",
    "Provenance",
    "RowGame",
    "RowMethod",
    "SoftplusForReLU",
    "Term",
    "ValueTables",
    "check_choice",
    "check_count",
    "check_flag",
    "check_number",
    "describe_model",
    "gradient",
    "hessian",
    "hookimpl",
    "preserved_state",
    "progress_bar",
    "read_safetensors",
    "write_safetensors",
]
