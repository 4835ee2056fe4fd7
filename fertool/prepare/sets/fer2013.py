"""FER2013 and its copies: the challenge's csv, folders, Parquet."""

from collections import Counter
from dataclasses import replace

from fertool.prepare.sets.codes import FER2013, in_words
from fertool.prepare.sets.data_set import DataSet
from fertool.prepare.sources.labelled_faces import CHALLENGE_NAME
from fertool.prepare.sources.listing import Listing

CHALLENGE = {"train": 28_709, "val": 3_589, "test": 3_589}
JOINED = {"train": 28_709, "test": 7_178}
TWO_PARTS = {"train": 28_821, "val": 7_066}


def named(listing: Listing) -> Listing:
    """The listing under the name FER2013 where its splits have as many faces as a copy of it, with what that means."""
    counts = Counter(face.split for face in listing.faces)
    if counts == CHALLENGE:
        return replace(listing, name=CHALLENGE_NAME)
    if counts == JOINED:
        note = f"test is FER2013's PublicTest and PrivateTest together: {JOINED['test']:,} faces"
    elif counts == TWO_PARTS:
        note = (
            f"this copy of FER2013 has parts of {TWO_PARTS['train']:,} and {TWO_PARTS['val']:,} faces, not the "
            "challenge's splits: accuracies on it do not compare with those of the challenge"
        )
    else:
        return listing
    return replace(listing, name=CHALLENGE_NAME, notes=(*listing.notes, note))


_LICENCE = "research; from a challenge on Kaggle, without a licence of its own"
_CITATION = "Goodfellow et al. 2013 (ICONIP)"

FER2013_CSV = DataSet(
    name="FER2013",
    form="a csv with the columns emotion, pixels, Usage (fer2013.csv, icml_face_data.csv)",
    codes=in_words(FER2013),
    splits="Training, PublicTest (val), PrivateTest (test)",
    licence=_LICENCE,
    citation=_CITATION,
    find=lambda _candidate: None,  # read by the general readers, as the two below
)
FER2013_FOLDERS = DataSet(
    name="FER2013, folders",
    form="{train,test}/<emotion>/PublicTest_28709.jpg, or images/{train,validation}/<emotion>/",
    codes="names",
    splits="by the file names; else the folders, where val serves as test if there is none",
    licence=_LICENCE,
    citation=_CITATION,
    find=lambda _candidate: None,
)
FER2013_PARQUET = DataSet(
    name="FER2013, Parquet",
    form="data/{train,publicTest,privateTest,test}-*.parquet with image and label, or img_bytes and labels",
    codes="the names stored in the file, never by position",
    splits="by the file names; a test of 7,178 is PublicTest and PrivateTest",
    licence=_LICENCE,
    citation=_CITATION,
    find=lambda _candidate: None,
)
