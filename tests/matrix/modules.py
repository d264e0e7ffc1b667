"""The modules of the matrix, one for each method, in the order of the page."""

from __future__ import annotations

from tests.matrix import (
    test_and_or,
    test_graph_spectral,
    test_local_corex,
    test_second_glance,
    test_taylor_cam,
    test_taylor_nid,
)

MODULES = (
    test_and_or,
    test_taylor_cam,
    test_taylor_nid,
    test_second_glance,
    test_local_corex,
    test_graph_spectral,
)
METHODS = tuple(module.METHOD.__name__ for module in MODULES)
