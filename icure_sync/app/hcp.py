"""`hcp list|show|verify`: which Hcps this one knows, by which keys, and a person's word that these are theirs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from icure_sync import Acquaintance, KnownKeys, Replica
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, fields, local_time, number_lines, printable, table
from icure_sync.app.qr import qr_lines
from icure_sync.errors import InvalidEntity, UntrustedKey

LINE_MOST = 200  # characters of what is typed: more is something else
_YES = "yes"


def list_all(args: argparse.Namespace) -> Answer:
    """Everybody that is known here."""

    async def work(replica: Replica) -> Answer:
        found = await replica.acquaintances.all()
        rows = [[each.hcp_id, each.name, _fingerprint(each), _verified(each), each.trouble] for each in found]
        return Answer(
            {"items": [_as_json(each) for each in found]},
            table(["ID", "NAME", "FINGERPRINT", "COMPARED", "NOT BELIEVED"], rows),
        )

    return in_replica(args, work)


def show(args: argparse.Namespace) -> Answer:
    """One of them."""

    async def work(replica: Replica) -> Answer:
        found = await replica.acquaintances.get(args.id)
        return Answer(_as_json(found), _page(found))

    return in_replica(args, work)


def verify(args: argparse.Namespace) -> Answer:
    """Show the number to compare; with a person's word, note that it is the same on the other side."""

    async def work(replica: Replica) -> Answer:
        found = await replica.acquaintances.get(args.id)
        if found.is_own:
            raise InvalidEntity(f"verify {args.id}", "it is your own", "name the Hcp whose keys you want to be sure of")
        if not _all_keys(found):
            raise UntrustedKey(f"verify {args.id}", "its Hcp document is not here, or not sound", "sync, and try again")
        number = args.number or _confirmed(found)
        if number is None:
            text = f"{_to_compare(found)}\n\nIf it is the same there: icure-sync hcp verify {found.hcp_id} --number …"
            return Answer({**_as_json(found), "compared": False}, text)
        after = await replica.acquaintances.confirm(args.id, number)
        return Answer(
            {**_as_json(after), "compared": True}, f"The keys of {_who(after)} are theirs: you have compared."
        )

    return in_replica(args, work)


def _confirmed(found: Acquaintance) -> str | None:
    """What a person at a terminal says: the number of the keys meant, None if nobody is there to ask.

    Of several identities the number has to be typed: a yes would not say which. Raises UntrustedKey for a no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    keys = _all_keys(found)
    _tell(_to_compare(found))
    if len(keys) > 1:
        return _asked("The number that the other side shows: ")
    _tell("\n".join(qr_lines(keys[0].number.replace(" ", ""))))
    if _asked(f"Does {printable(found.hcp_id)} see the same number? Type {_YES} if every digit is: ") != _YES:
        wrong = "the numbers are not the same, or nobody has compared them"
        raise UntrustedKey(
            f"confirm the keys of {found.hcp_id}", wrong, "if they differ, share nothing, and tell who runs the server"
        )
    return keys[0].number


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _asked(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline(LINE_MOST).strip()


def _all_keys(found: Acquaintance) -> tuple[KnownKeys, ...]:
    return (*([found.believed] if found.believed else []), *found.claimed)


def _to_compare(found: Acquaintance) -> str:
    lines = [f"Have {_who(found)} run icure-sync hcp verify with your id, and compare in person or by telephone."]
    if found.believed:
        lines += ["", f"Known here, {_which(found.believed)}:", *number_lines(found.believed.number)]
    for keys in found.claimed:
        lines += [
            "",
            f"Claimed for it since, epoch {keys.epoch}, fingerprint {keys.fingerprint}:",
            *number_lines(keys.number),
        ]
    if found.more_claimed:
        lines += [
            "",
            f"And {found.more_claimed} more are claimed for it: somebody is playing tricks with its document.",
        ]
    return "\n".join(map(printable, lines))


def _which(keys: KnownKeys) -> str:
    return f"epoch {keys.epoch}, fingerprint {keys.fingerprint}"


def _page(found: Acquaintance) -> str:
    pairs = {
        "Hcp": found.hcp_id,
        "Name": found.name,
        "Fingerprint": _fingerprint(found),
        "Epoch": str(found.believed.epoch) if found.believed else "",
        "Compared": _verified(found),
        "Not believed": found.trouble,
        "Claimed": ", ".join(f"{keys.fingerprint} (epoch {keys.epoch})" for keys in found.claimed) + _more(found),
    }
    lines = fields({name: value for name, value in pairs.items() if value})
    if found.claimed:
        lines += f"\nNothing is shared with it until you decide: icure-sync hcp verify {printable(found.hcp_id)}"
    return lines


def _more(found: Acquaintance) -> str:
    return f", and {found.more_claimed} more" if found.more_claimed else ""


def _who(found: Acquaintance) -> str:
    return printable(f"{found.name} ({found.hcp_id})" if found.name else found.hcp_id)


def _fingerprint(found: Acquaintance) -> str:
    return found.believed.fingerprint if found.believed else ""


def _verified(found: Acquaintance) -> str:
    if found.is_own:
        return "your own"
    return local_time(found.verified) if found.verified is not None else "never"


def _as_json(found: Acquaintance) -> dict[str, Any]:
    return {
        "hcpId": found.hcp_id,
        "name": found.name,
        "own": found.is_own,
        "keys": _keys_json(found.believed) if found.believed else None,
        "verified": found.verified,
        "trouble": found.trouble or None,
        "claimed": [_keys_json(keys) for keys in found.claimed],
        "moreClaimed": found.more_claimed,
    }


def _keys_json(keys: KnownKeys) -> dict[str, Any]:
    return {"epoch": keys.epoch, "fingerprint": keys.fingerprint, "number": keys.number or None}
