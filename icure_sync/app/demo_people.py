"""The people of the demo's clinic: invented from word lists, the same for the same seed. Knows nothing of records.

The words are chosen so that none of them is a part of the format (a field's name, a type): wherever one of them
shows up in what a server holds, it leaked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SEED = 17951031

_GIVEN = {
    "female": (  # noqa: SIM905  # names one a line would fill pages
        "Agatha Beatrix Cordelia Dorothea Eleanor Florence Georgiana Henrietta Isabella Josephine Katharine Lavinia"
        " Marianne Nathalie Ophelia Philippa Rosalind Susannah Theodora Ursula Victoria Winifred"
    ).split(),
    "male": (  # noqa: SIM905  # as above
        "Ambrose Benedict Cornelius Dominic Ebenezer Ferdinand Gideon Humphrey Ignatius Jeremiah Leopold Maximilian"
        " Nathaniel Octavius Percival Quentin Reginald Septimus Thaddeus Valentine Wilfred Zachary"
    ).split(),
}
_FAMILY = (  # noqa: SIM905  # as above
    "Abercrombie Allardyce Ashdown Babington Barraclough Birtwistle Blenkinsop Brackenbury Carmichael Chatterley"
    " Cholmondeley Coleridge Cunningham Dalrymple Dashwood Drinkwater Elphinstone Fairweather Fanshawe"
    " Featherstone Fotheringham Galsworthy Gathercole Greenhalgh Hathersage Heatherington Higginbotham Illingworth"
    " Jellicoe Kilbride Kirkpatrick Lanchester Leadbetter Lillywhite Macallister Mainwaring Merriweather Nightingale"
    " Oglethorpe Openshaw Pakenham Pemberton Pendlebury Postlethwaite Ravenscroft Rowbottom Satterthwaite"
    " Shuttleworth Smallwood Sotheby Strickland Thistlewood Throckmorton Trevelyan Uppingham Vansittart Waddington"
    " Wetherby Whitcombe Wolstenholme Yarborough"
).split()
_COMPLAINTS = (
    "Burning pain behind the breastbone, worse lying down",
    "Dizzy spells on standing up quickly",
    "Dry cough every night since Michaelmas",
    "Earache and muffled hearing on the left",
    "Fever with shivering since yesterday evening",
    "Headache above both eyes, worse when stooping",
    "Itching rash on both forearms",
    "Knee swollen, having slipped off a ladder",
    "Low back pain that travels down the right leg",
    "Palpitations while climbing stairs",
    "Sleepless and weary for three weeks",
    "Sore throat and painful swallowing",
    "Sprained ankle on the church steps",
    "Stinging when passing water",
    "Wheezing whenever the hay is brought in",
)
_FINDINGS = (
    "Chest clear, tonsils inflamed, advised lozenges and rest",
    "Crackles at the right base, antibiotic prescribed",
    "Eardrum reddened, drops twice daily",
    "Joint tender without instability, bandage and crutches",
    "Lymph glands enlarged, throat swab taken",
    "Peak flow reduced, inhaler shown and tried",
    "Pressure slightly raised, diary for a fortnight",
    "Pulse irregular, tracing taken, cardiologist consulted",
    "Skin scraping sent away, soothing ointment given",
    "Straight leg raising painful, exercises explained",
    "Urine cloudy, culture ordered, plenty to drink",
)
_REMARKS = (
    "allergic to penicillin",
    "dislikes needles",
    "hard of hearing, speak slowly",
    "lives alone above the bakery",
    "prefers appointments before breakfast",
    "sister interprets",
    "walks with a stick",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One patient of the clinic's day and what was written down. `temperature` in degrees Celsius."""

    first_name: str
    last_name: str
    gender: str
    date_of_birth: int  # YYYYMMDD
    remark: str
    complaint: str
    finding: str
    temperature: float


def clinic_day(patients: int, seed: int = SEED) -> Iterator[Visit]:
    """So many visits, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311  # invented people: nothing secret is drawn
    for _ in range(patients):
        gender = dice.choice(sorted(_GIVEN))
        yield Visit(
            first_name=dice.choice(_GIVEN[gender]),
            last_name=dice.choice(_FAMILY),
            gender=gender,
            date_of_birth=dice.randint(1931, 2019) * 10000 + dice.randint(1, 12) * 100 + dice.randint(1, 28),
            remark=dice.choice(_REMARKS),
            complaint=dice.choice(_COMPLAINTS),
            finding=dice.choice(_FINDINGS),
            temperature=dice.randint(362, 395) / 10,
        )
