"""The commands of trust: who may read what, which keys and devices are believed, what was done. Declares them only."""

from __future__ import annotations

import argparse

from icure_sync.app.arguments import Nouns, add_command, add_group


def add_trust(nouns: Nouns[argparse.ArgumentParser]) -> None:
    """All of them."""
    _add_sharing(nouns)
    _add_passphrase(nouns)


def _add_sharing(nouns: Nouns[argparse.ArgumentParser]) -> None:
    share = add_command(nouns, "share", "sharing:share", "Let another healthcare party read and write a record.")
    share.add_argument("id", metavar="DOC_ID")
    share.add_argument("--with", required=True, dest="with_", metavar="HCP_ID", help="the healthcare party")
    share.add_argument("--include-linked", action="store_true", help="what is linked to the patient as well")
    revoke = add_command(
        nouns, "revoke", "sharing:revoke", "Put a healthcare party out: it reads nothing written later."
    )
    revoke.add_argument("id", metavar="DOC_ID")
    revoke.add_argument("--from", required=True, dest="from_", metavar="HCP_ID", help="the healthcare party")
    revoke.add_argument("--include-linked", action="store_true", help="what is linked to the patient as well")


def _add_passphrase(nouns: Nouns[argparse.ArgumentParser]) -> None:
    passphrase = add_group(nouns, "passphrase", "The passphrase of this home.")
    change = add_command(passphrase, "change", "passphrase:change", "Lock this home by another passphrase.")
    change.add_argument(
        "--new-passphrase-file",
        metavar="FILE",
        help="read the new one there (or from ICURE_SYNC_NEW_PASSPHRASE; else it is asked for, twice)",
    )
