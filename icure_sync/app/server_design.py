"""The design document `_design/icure_sync`: what a CouchDB is asked to index, and what it may check. Owns its text, and
how an older one is brought up to date; knows no server.

A hub answers the same two views by itself; the document does nothing there. The language is JavaScript as old engines
know it (ECMAScript 5). A view sees the winner of a document with `_conflicts`, the names of its other live leaves; it
sees no document whose winner is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync.errors import InvalidEntity

DESIGN = "_design/icure_sync"
BY_DELEGATE = "by_delegate"
_BY_FOREIGN_KEY = "by_secret_foreign_key"
VERSION = 2  # of the document; goes up with every change of the text below
VALIDATION = "validate_doc_update"

_MARK = "// icure_sync: shape and size only."  # tells our validation functions, older ones too, from others

# Which documents a first sync needs: a delegate's, those for everyone, and those whose other leaves must be looked at.
_MAP_BY_DELEGATE = """\
function (doc) {
  var delegations = doc.delegations;
  if (delegations && typeof delegations === "object" && !Array.isArray(delegations)) {
    Object.keys(delegations).forEach(function (delegate) { emit([delegate], null); });
  }
  if (doc.type === "HealthcareParty" || doc.java_type === "org.taktik.icure.entities.HealthcareParty") {
    emit(["", "HealthcareParty"], null);
  }
  if (doc.type === "DeviceHead") {
    emit(["", "DeviceHead"], null);
  }
  if (doc.type === "Attestation") {
    emit(["", "Attestation"], null);
  }
  if (doc._conflicts) {
    emit([null], null);
  }
}"""

_MAP_BY_FOREIGN_KEY = """\
function (doc) {
  var keys = doc.secretForeignKeys, seen = {};
  if (!Array.isArray(keys) || !keys.every(function (key) { return typeof key === "string"; })) {
    return;
  }
  keys.forEach(function (key) {
    if (!seen["=" + key]) {
      seen["=" + key] = true;
      emit([key], null);
    }
  });
}"""

# No signature and no right is checked here: a server cannot see what would be needed for that, devices do it.
_VALIDATE = (
    """\
function (newDoc, oldDoc, userCtx) {
  """
    + _MARK
    + """
  function refuse(why) { throw({forbidden: why}); }
  function isMap(value) { return typeof value === "object" && !Array.isArray(value); }
  if (JSON.stringify(newDoc).length > 8000000) {
    refuse("a document may weigh 8000000 bytes");
  }
  ["delegations", "cryptedForeignKeys", "encryptionKeys", "hcPartyKeys"].forEach(function (name) {
    if (name in newDoc && !isMap(newDoc[name])) { refuse(name + " must be an object or null"); }
  });
  if (newDoc._deleted) {
    return;
  }
  if (typeof newDoc.type !== "string" && typeof newDoc.java_type !== "string") {
    refuse("a document must say its type or java_type");
  }
  ["secretForeignKeys", "access", "parents", "merged"].forEach(function (name) {
    if (name in newDoc && newDoc[name] !== null && !Array.isArray(newDoc[name])) {
      refuse(name + " must be a list or null");
    }
  });
  ["cryptoSuite", "encryptedSelf"].forEach(function (name) {
    if (name in newDoc && newDoc[name] !== null && typeof newDoc[name] !== "string") {
      refuse(name + " must be a text or null");
    }
  });
}"""
)

_VIEWS: Mapping[str, Mapping[str, str]] = {
    BY_DELEGATE: {"map": _MAP_BY_DELEGATE},
    _BY_FOREIGN_KEY: {"map": _MAP_BY_FOREIGN_KEY},
}


def brought_up_to_date(stored: Mapping[str, Any] | None, *, validate: bool) -> dict[str, Any] | None:
    """The document as it is to be written; None if the stored one needs nothing.

    What others have added to it stays. A newer version's is left alone. A validation function of ours is brought up to
    date; `validate` adds one where there is none. Raises InvalidEntity rather than replace somebody else's.
    """
    before = dict(stored or {"_id": DESIGN})
    version = before.get("version")
    if isinstance(version, int) and version > VERSION:
        return None
    views = before.get("views")
    after = {**before, "language": "javascript", "version": VERSION}
    after["views"] = {**(views if isinstance(views, Mapping) else {}), **_VIEWS}
    function = before.get(VALIDATION)
    if function is not None and _MARK not in str(function):
        if validate:
            raise InvalidEntity(
                f"store a validation function in {DESIGN}", "it has another one", "remove that, or leave out --validate"
            )
    elif validate or function is not None:
        after[VALIDATION] = _VALIDATE
    return None if after == before else after
