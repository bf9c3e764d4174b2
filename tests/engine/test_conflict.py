"""What conflicts say of themselves, in a log or a traceback: nothing that is sealed."""

from __future__ import annotations

from icure_sync import Conflict, Disputed, Reason, Standing, Version
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.model import Patient

SECRET = "tuberculosis"
SHOWN = Version(SECRET, "hcp-a", SECRET, 1_700_000_000_000)
NOTE = Disputed(("note",), "note", SHOWN, (Version(SECRET, "hcp-b"), Version(None)))
CODE = Disputed(("codes", SECRET), f"codes/{SECRET}", SHOWN, (Version(None),))
MADE_UP = Disputed((SECRET,), SECRET, SHOWN, (Version(None),))
OUT = Standing(Rev("2-ab"), Reason.OUT, SECRET, HcpId("hcp-c"), {SECRET: (SECRET,), "note": (SECRET,)})


def test_a_version_shows_who_wrote_it_and_never_what():
    assert repr(SHOWN) == "<Version by hcp-a>"
    assert repr(Version(SECRET)) == repr(Version(SECRET, f"{SECRET} is no id")) == "<Version>"


def test_a_field_in_dispute_shows_its_name_if_it_is_one_of_the_model():
    assert repr(NOTE) == "<Disputed note, 3 versions>"
    assert repr(CODE) == "<Disputed codes, 2 versions>"
    assert repr(MADE_UP) == "<Disputed a field, 2 versions>"


def test_a_standing_leaf_shows_its_revision_why_it_stands_and_how_much_it_offers():
    assert repr(OUT) == "<Standing 2-ab out by hcp-c, offers 2 fields>"
    assert repr(Standing(Rev("2-ab"), Reason.TAMPERED, SECRET)) == "<Standing 2-ab tampered>"


def test_a_conflict_shows_the_record_the_fields_and_the_reasons():
    john = Patient(id="abc", rev="3-ef", note=SECRET)
    conflict = Conflict(DocId("abc"), "Patient", john, (Rev("3-ef"),), (NOTE, CODE, MADE_UP), (OUT,))
    assert repr(conflict) == "<Conflict Patient abc; 4 versions; in dispute: note, codes, a field; standing: out>"
    assert repr(Conflict(DocId("abc"), "", None, ())) == "<Conflict abc; 1 version>"
    assert SECRET not in repr([conflict, *conflict.fields, *conflict.standing])
