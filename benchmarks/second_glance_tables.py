"""The study of the Second Glance paper, on tables that come with packages: M1, M2, and SHAP interactions.

python -m benchmarks.second_glance_tables
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import xgboost
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import f1_score, recall_score
from sklearn.model_selection import train_test_split
from torch import Tensor

import hoi_captum as hoi
from benchmarks.harness import single_threaded, table, write
from hoi_captum.measures import polarity_agreement
from tests.methods.second_glance import taught

N_FEATURES = 5
SEEDS = (0, 1, 2)
BOOSTED = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "seed": 0, "nthread": 1}
WAYS: dict[str, dict[str, Any]] = {
    "softplus (default)": {},
    "softplus, potential": {"symmetry": "potential"},
    "paper": {"surrogate": "paper"},
    "ridge": {"surrogate": "ridge"},
}


class Study(NamedTuple):
    """A table with the features that the boosted trees use most, standardised."""

    name: str
    features: list[str]
    x: NDArray[np.float64]
    y: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    shap: NDArray[np.float64]  # (n, k, k) interactions, log-odds
    boosted_accuracy: float


def breast_cancer() -> tuple[Any, NDArray[np.int64]]:
    """569 tumours, 30 measures: malignant or not (scikit-learn)."""
    bunch = load_breast_cancer(as_frame=True)
    return bunch.data, (1 - bunch.target).to_numpy()


def affairs() -> tuple[Any, NDArray[np.int64]]:
    """6,366 women, 8 answers each (Redbook, 1974): had an affair or not (statsmodels)."""
    from statsmodels.datasets import fair

    frame = fair.load_pandas().data
    return frame.drop(columns="affairs"), (frame.affairs > 0).astype(int).to_numpy()


def study(name: str, load: Callable[[], tuple[Any, NDArray[np.int64]]]) -> Study:
    """Choose five features by their mean absolute SHAP values, as the paper does."""
    frame, y = load()
    everything = xgboost.DMatrix(frame.to_numpy(), y)
    boosted = xgboost.train(BOOSTED, everything, 150)
    sizes = np.abs(boosted.predict(everything, pred_contribs=True)[:, :-1]).mean(0)
    best = np.argsort(-sizes)[:N_FEATURES]
    x = frame.to_numpy(dtype=np.float64)[:, best]
    x = (x - x.mean(0)) / x.std(0)
    train, test = train_test_split(np.arange(len(x)), test_size=0.2, random_state=0, stratify=y)
    again = xgboost.train(BOOSTED, xgboost.DMatrix(x[train], y[train]), 100)
    shap = again.predict(xgboost.DMatrix(x), pred_interactions=True)[:, :-1, :-1]
    accuracy = float(((again.predict(xgboost.DMatrix(x[test])) > 0.5) == y[test]).mean())
    return Study(name, [frame.columns[i] for i in best], x, y, train, test, shap, accuracy)


def compared(data: Study) -> tuple[str, str]:
    x = torch.tensor(data.x, dtype=torch.float32)
    rows, signs = [], []
    for seed in SEEDS:
        model = taught.first_model(x, torch.from_numpy(data.y), torch.from_numpy(data.train), seed)
        with torch.no_grad():
            said = (model(x[torch.from_numpy(data.test)])[:, 0] > 0).int().numpy()
        truth = data.y[data.test]
        scores = (said == truth).mean(), recall_score(truth, said), f1_score(truth, said)
        first = " / ".join(f"{value:.3f}" for value in scores)
        outputs: dict[str, Callable[[Tensor], Tensor]] = {
            "probability": lambda z, model=model: torch.sigmoid(model(z)),
            "log-odds": model,
        }
        for output, forward in outputs.items():
            for way, options in WAYS.items():
                started = time.perf_counter()
                method = hoi.SecondGlance(forward, force=True, **options).fit(x, 0)
                seconds = time.perf_counter() - started
                quality = method.quality()
                rows.append(
                    (
                        seed,
                        first,
                        output,
                        way,
                        f"{quality.pooled_r2:.3f}",
                        f"{quality.asymmetry:.2f}",
                        f"{quality.zero_fraction:.3f}",
                        f"{seconds:.1f} s",
                    )
                )
                print(rows[-1], flush=True)
                if way not in ("softplus (default)", "paper"):
                    continue
                hessians = np.stack([t.pairs for t in method.interact(x, target=0)])
                # an attribution has the sign of a derivative times both distances from the mean
                products = hessians * data.x[:, :, None] * data.x[:, None, :]
                for what, found in (("H", hessians), ("H (x - mean)(x - mean)", products)):
                    agreed = polarity_agreement(found, data.shap)
                    signs.append(
                        (
                            seed,
                            output,
                            way,
                            what,
                            f"{100 * agreed.share:.1f} %",
                            f"{100 * agreed.expected:.1f} %",
                            f"{agreed.kappa:+.3f}",
                            f"{agreed.p_value:.2g}",
                            f"{agreed.pair_share * agreed.pairs:.0f} of {agreed.pairs}",
                            f"{agreed.pair_p_value:.2f}",
                        )
                    )
                    print(signs[-1], flush=True)
    heads = ("seed", "M1 accuracy / recall / F1", "output", "M2", "R²", "asymmetry", "zeros", "fit")
    sign_heads = ("seed", "output", "M2", "compared", "same sign", "by chance", "kappa", "p of rows")
    return table(heads, rows), table((*sign_heads, "pairs agreeing", "p of pairs"), signs)


if __name__ == "__main__":
    single_threaded()
    warnings.simplefilter("ignore")  # of R^2, which is in the tables
    sections = []
    for load in (affairs, breast_cancer):
        data = study(load.__name__.replace("_", " "), load)
        about = (load.__doc__ or "").strip()
        surrogates, polarity = compared(data)
        sections += [
            (
                f"{data.name}: M1 and M2",
                f"{about} Features: {', '.join(data.features)}. The boosted trees on these five are right on "
                f"{data.boosted_accuracy:.3f} of the test rows.\n\n{surrogates}",
            ),
            (
                f"{data.name}: the signs of its pairs, against SHAP interactions of the boosted trees",
                polarity,
            ),
        ]
    write(
        "second_glance_tables",
        "SecondGlance: the paper's study on tables that need no download",
        "python -m benchmarks.second_glance_tables",
        [
            (
                "What is compared",
                "As in the paper (Shahid et al. 2024): five features, those of the largest mean absolute "
                "SHAP values of gradient-boosted trees (xgboost, depth 4); M1 with 4-4-4 ReLU neurons; M2 "
                "taught M1's gradients by all rows, R² on a fifth of them; signs of its pairs against the "
                "trees' exact SHAP interactions. The paper's data (bank, adult) would have to be "
                "downloaded. *By chance*: with as many positive signs in each. *p of rows* takes all rows "
                "and pairs as independent coin tosses, as the paper does; rows of one model are not, and "
                "it is far too small. *p of pairs*: ten tosses, one for each pair, by most of its rows. "
                "Two different models are compared here, a network and trees: that they disagree says "
                "little of either.",
            ),
            *sections,
        ],
    )
