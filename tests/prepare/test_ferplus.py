import numpy as np
import pytest

from fertool.errors import UserError
from fertool.prepare import PrepareSettings, prepare
from fertool.prepare.emotions import EMOTIONS
from fertool.prepare.ferplus import ANSWERS, crowd_labels
from fertool.runtime.files import read_csv
from fertool.workspace import SPLITS, Workspace

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
IN_FILE = (
    "neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt", "unknown", "not_face",
)  # fmt: skip
USAGES = {"Training": 3, "PublicTest": 1, "PrivateTest": 1}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "data")


@pytest.fixture
def challenge(forms):
    rows = forms.challenge_rows(USAGES)
    source = forms.folder / "fer2013.csv"
    source.write_text(forms.csv_text(forms.faces(len(rows)), rows))
    return source, rows


def line(usage, **votes):
    return ",".join([usage, "", *(str(votes.get(answer, 0)) for answer in IN_FILE)])


def agreeing(rows):
    """Votes of ten taggers who all say what the challenge says."""
    return [line(usage, **{ANSWERS[code]: 10}) for code, usage in rows]


def write(forms, lines, header=HEADER):
    path = forms.folder / "fer2013new.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def votes(**answers):
    return [answers.get(answer, 0) for answer in ANSWERS]


def test_labels_known():
    labels, left_out = crowd_labels(
        np.array([
            votes(sad=5, happy=4, unknown=1),
            votes(neutral=1),
            votes(happy=5, sad=5),
            votes(happy=4, contempt=4, sad=2),
            votes(contempt=6, happy=4),
            votes(unknown=5, happy=4, not_face=1),
            votes(not_face=10),
            votes(),
        ])
    )  # fmt: skip
    assert labels.tolist() == [4, 6, -1, -1, -1, -1, -1, -1]
    assert left_out == {"no votes": 1, "tie": 2, "contempt": 1, "unknown": 1, "not_face": 1}


def test_votes_are_added_by_row(forms, workspace, challenge):
    source, rows = challenge
    lines = [line(usage, angry=row % 7, not_face=3) for row, (_, usage) in enumerate(rows)]
    summary = prepare(workspace, source, PrepareSettings(ferplus=write(forms, lines)))
    table = [row for split in SPLITS for row in read_csv(workspace.faces_csv(split))]
    assert [int(row["votes_angry"]) for row in table] == [row % 7 for row in range(len(rows))]
    assert {row["votes_not_face"] for row in table} == {"3"}
    assert [int(row["label"]) for row in table] == [code for code, _ in rows]
    assert summary.data["ferplus"]["left_out"] is None


def test_votes_reach_pictures_by_the_row_in_their_name(forms, workspace, challenge):
    source, rows = challenge
    pictures = forms.fer2013_folders(forms.faces(len(rows)), rows)
    crowd = write(forms, [line(usage, sad=row) for row, (_, usage) in enumerate(rows)])
    prepare(workspace, forms.zip(pictures), PrepareSettings(ferplus=crowd))
    again = Workspace(workspace.root.parent / "again")
    prepare(again, source, PrepareSettings(ferplus=crowd))
    for split in SPLITS:
        mine, theirs = (read_csv(place.faces_csv(split)) for place in (workspace, again))
        assert [row["votes_sad"] for row in mine] == [row["votes_sad"] for row in theirs]


def test_labels_of_the_crowd(forms, workspace, challenge):
    source, rows = challenge
    lines = agreeing(rows)
    lines[0] = line("Training", contempt=9, angry=1)
    lines[1] = line("Training", happy=6, disgust=4)
    summary = prepare(workspace, source, PrepareSettings(ferplus=write(forms, lines), labels_from="ferplus"))
    train = read_csv(workspace.faces_csv("train"))
    assert train[0]["id"] == "Training_1"
    assert train[0]["label"] == "3"
    assert summary.data["ferplus"]["left_out"]["contempt"] == 1
    assert summary.data["splits"]["train"]["count"] == 20
    assert any("contempt 1" in note for note in summary.notes)


def test_contempt_is_a_label_of_the_crowd_with_eight(forms, workspace):
    rows = forms.challenge_rows({"Training": 2, "PublicTest": 2, "PrivateTest": 2})
    source = forms.folder / "fer2013.csv"
    source.write_text(forms.csv_text(forms.faces(len(rows)), rows))
    lines = agreeing(rows)
    for row in (0, 14, 28):  # one of two angry faces of each split
        lines[row] = line(rows[row][1], contempt=9, angry=1)
    settings = PrepareSettings(ferplus=write(forms, lines), labels_from="ferplus", eight=True)
    summary = prepare(workspace, source, settings)
    assert summary.data["classes"] == [*EMOTIONS, "contempt"]
    assert [split["classes"]["contempt"] for split in summary.data["splits"].values()] == [1, 1, 1]


def test_classes_are_chosen_after_the_crowd_has_relabelled(forms, workspace, challenge):
    source, rows = challenge
    lines = agreeing(rows)
    lines[0] = line("Training", happy=10)  # the challenge calls it angry
    summary = prepare(
        workspace,
        source,
        PrepareSettings(ferplus=write(forms, lines), labels_from="ferplus", classes=["happy", "sad"]),
    )
    assert summary.data["splits"]["train"]["classes"] == {"happy": 4, "sad": 3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], ["34 rows", "PrivateTest_34"]),
        (lambda lines: lines[1:] + lines[:1], ["row 21", "PublicTest", "Training_20"]),
        (lambda lines: [*lines[:4], lines[4].replace("10", "x"), *lines[5:]], ["row 5 (line 6)", "x"]),
        (lambda lines: [*lines[:4], "Training,", *lines[5:]], ["row 5 (line 6)"]),
        (
            lambda lines: [*lines[:4], lines[4].replace("10", "9" * 20), *lines[5:]],
            ["row 5 (line 6)", "votes"],
        ),
        (lambda lines: [*lines[:4], lines[4].replace("Training", "Test"), *lines[5:]], ["row 5", "'Test'"]),
    ],
)
def test_votes_that_do_not_fit_are_refused(forms, workspace, challenge, change, words):
    source, rows = challenge
    crowd = write(forms, change(agreeing(rows)))
    with pytest.raises(UserError) as caught:
        prepare(workspace, source, PrepareSettings(ferplus=crowd))
    for word in ["fer2013new.csv", *words]:
        assert word in str(caught.value)
    assert not workspace.root.exists()


def test_no_votes_at_all(forms, workspace, challenge):
    source, rows = challenge
    with pytest.raises(UserError, match=r"absent\.csv"):
        prepare(workspace, source, PrepareSettings(ferplus=forms.folder / "absent.csv"))
    with pytest.raises(UserError, match="no column NF"):
        prepare(
            workspace,
            source,
            PrepareSettings(ferplus=write(forms, agreeing(rows), HEADER.replace(",NF", ",none"))),
        )


def test_votes_on_other_faces(forms, workspace, challenge):
    _, rows = challenge
    crowd = write(forms, agreeing(rows))
    with pytest.raises(UserError, match="rows of FER2013"):
        prepare(workspace, forms.tree(forms.emotion_folders(4)), PrepareSettings(ferplus=crowd))
    with pytest.raises(UserError, match="synthetic faces"):
        prepare(workspace, "synthetic", PrepareSettings(ferplus=crowd))


def test_votes_of_faces_in_another_order_are_refused(forms, workspace):
    """Row by row their Usage agrees, and nothing else does."""
    rows = forms.challenge_rows({"Training": 10, "PublicTest": 1, "PrivateTest": 1})
    moved = [(code, usage) for usage, count in (("Training", 10),) for code in range(7) for _ in range(count)]
    source = forms.folder / "sorted.csv"
    source.write_text(forms.csv_text(forms.faces(len(rows)), moved + rows[70:]))
    with pytest.raises(UserError, match=r"label of \d+% of the faces.*order") as caught:
        prepare(workspace, source, PrepareSettings(ferplus=write(forms, agreeing(rows))))
    assert len(str(caught.value).splitlines()) == 1
    prepare(workspace, source, PrepareSettings(ferplus=write(forms, agreeing(moved + rows[70:]))))


def test_votes_reach_pictures_by_the_names_that_ferplus_has(forms, workspace):
    names = list(EMOTIONS) * 4
    order = np.random.default_rng(0).permutation(len(names))
    lines = [
        line("Training", **{names[face]: 7, "unknown": 3}).replace(",,", f",fer{face:07d}.png,", 1)
        for face in order
    ]
    faces = forms.faces(len(names))
    files = {
        f"{split}/{name}/fer{face:07d}.png": forms.picture(faces[face])
        for face, name in enumerate(names)
        for split in [("train", "train", "val", "test")[face // 7]]
    }
    prepare(workspace, forms.tree(files), PrepareSettings(ferplus=write(forms, lines)))
    for split in SPLITS:
        votes = workspace.load_votes(split)
        assert (votes.argmax(axis=1) == workspace.load_labels(split)).all() and (
            votes.sum(axis=1) == 10
        ).all()
