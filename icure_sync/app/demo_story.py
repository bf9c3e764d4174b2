"""The story that the demo plays: what happens on which device, scene by scene, and what must hold after each.

Knows the public API, as any application does. A device is offline whenever it does not sync. The people and places
are those of 1820; the patient is not.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from icure_sync import Address, Contact, Content, Form, HealthcareElement, Measure, Patient, Service
from icure_sync.app.demo_people import Visit, clinic_day
from icure_sync.app.demo_report import Report
from icure_sync.app.demo_stage import Device
from icure_sync.app.demo_words import ClearWords
from icure_sync.model import Entity, fuzzy_date, to_record

E = TypeVar("E", bound=Entity)

SHARED_EVERY = 5  # of the clinic's day, each fifth patient is Dr Bree's as well

A = "hcp-a"
B = "hcp-b"
C = "hcp-c"


@dataclass(frozen=True, slots=True)
class Story:
    """The devices that play, and what is written down while they do. Hcp A has two of them."""

    laptop: Device
    phone: Device
    bree: Device
    clark: Device
    report: Report
    words: ClearWords

    async def write(self, device: Device, entity: E, patient: Patient | None = None) -> E:
        """Save on one device; every word of it is remembered for the search at the end."""
        self.words.add(to_record(entity))
        return await device.replica.save(entity, patient=patient)


@dataclass(frozen=True, slots=True)
class Chart:
    """John Keats, and what was written about him on the first evening."""

    john: Patient
    cough: Contact
    blood: Contact
    form: Form
    element: HealthcareElement

    def all(self) -> tuple[Entity, ...]:
        return self.john, self.cough, self.blood, self.form, self.element


async def offline_evening(story: Story) -> Chart:
    """A creates a patient, two contacts, a form and a healthcare element; nothing of it leaves the laptop."""
    story.report.scene("1  Hampstead, 3 February 1820, no network")
    laptop = story.laptop
    john = await story.write(laptop, _john())
    cough = await story.write(laptop, _cough(), john)
    blood = await story.write(laptop, _blood(), john)
    form = await story.write(
        laptop,
        Form(
            description="Questionnaire on breathing, appetite and lodgings",
            form_template_id="respiratory-intake",
            contact_id=cough.id,
        ),
        john,
    )
    element = await story.write(
        laptop,
        HealthcareElement(
            description="Suspected pulmonary consumption",
            note="Mother and brother Thomas perished likewise",
            opening_date=18200203,
        ),
        john,
    )
    story.report.tell("A's laptop writes the chart of John Keats: two contacts, a form, a healthcare element.")
    contacts = [contact async for contact in laptop.replica.contacts_of(john)]
    found = [patient async for patient in laptop.replica.find(Patient, text="keats apothecary")]
    story.report.check(
        "offline work is there at once",
        ok={contact.id for contact in contacts} == {cough.id, blood.id} and [one.id for one in found] == [john.id],
        detail=f"{len(contacts)} contacts by their patient, {len(found)} patient by the words 'keats apothecary'",
    )
    return Chart(john, cough, blood, form, element)


async def second_device(story: Story, chart: Chart) -> None:
    """The laptop syncs, the phone catches up."""
    story.report.scene("2  The network is back: A's phone catches up")
    sent = await story.laptop.sync()
    got = await story.phone.sync()
    story.report.tell(f"The laptop pushes {sent.pushed} documents, the phone pulls {got.pulled}.")
    same = [await _read(story.phone, entity) == entity for entity in chart.all()]
    story.report.check(
        "the phone shows what the laptop wrote", ok=all(same), detail=f"{sum(same)} of {len(same)} records are equal"
    )


async def second_opinion(story: Story, chart: Chart) -> None:
    """A shares with B; B reads, and adds a contact offline; A reads that."""
    story.report.scene("3  A second opinion: A shares the chart with Dr Bree")
    laptop, bree = story.laptop, story.bree
    await bree.sync()
    await laptop.sync()
    await laptop.replica.share(chart.john, with_=B, include_linked=True)
    await laptop.sync()
    await bree.sync()
    seen = [await _read(bree, entity) for entity in chart.all()]
    readable = sum(
        there is not None and to_record(there) == to_record(mine) for there, mine in zip(seen, chart.all(), strict=True)
    )
    contacts = [contact.id async for contact in bree.replica.contacts_of(chart.john)]
    story.report.check(
        "B reads everything that was shared",
        ok=readable == len(seen) and set(contacts) == {chart.cough.id, chart.blood.id},
        detail=f"{readable} of {len(seen)} records, {len(contacts)} contacts found by their patient",
    )
    john = await bree.replica.get(Patient, chart.john.id)
    opinion = await bree.replica.share(await story.write(bree, _opinion(), john), with_=A)
    story.report.tell("Dr Bree, offline in his carriage, adds a contact and shares it with A. Then both go online.")
    await bree.sync()
    await story.phone.sync()
    read = await _read(story.phone, opinion)
    owner = await story.phone.replica.patient_of(opinion) if read else None
    story.report.check(
        "A reads B's contact, and finds its patient",
        ok=read is not None and to_record(read) == to_record(opinion) and owner is not None and owner.id == john.id,
        detail="on the phone, which never met B",
    )


async def nothing_more(story: Story, chart: Chart) -> None:
    """A shares three records of the chart with C; C gets these and no other."""
    story.report.scene("4  Going south: A shares a part of the chart with Dr Clark")
    laptop, clark = story.laptop, story.clark
    await clark.sync()
    await laptop.sync()
    shared = (chart.john, chart.blood, chart.element)
    for entity in shared:
        current = await laptop.replica.get(type(entity), entity.id)
        await laptop.replica.share(current, with_=C)
    await laptop.sync()
    await clark.sync()
    seen = await all_records(clark)
    contacts = [contact.id async for contact in clark.replica.contacts_of(chart.john)]
    story.report.check(
        "C sees exactly what was shared",
        ok={entity.id for entity in seen} == {entity.id for entity in shared} and contacts == [chart.blood.id],
        detail=f"{len(seen)} records: the patient, one of three contacts, the healthcare element; no form",
    )


async def day_at_the_clinic(story: Story, patients: int) -> None:
    """Many patients with one contact each; some are shared with B; both of A's devices and B agree afterwards."""
    story.report.scene(f"5  A day at the clinic: {patients} patients")
    laptop, report = story.laptop, story.report
    seen = []
    with report.timed("records saved", 2 * patients):
        for visit in clinic_day(patients):
            patient = await story.write(laptop, _patient(visit))
            await story.write(laptop, _visit(visit), patient)
            seen.append(patient)
    for_bree = seen[::SHARED_EVERY]
    with report.timed("records shared", 2 * len(for_bree)):
        for patient in for_bree:
            await laptop.replica.share(patient, with_=B, include_linked=True)
    report.tell(f"{2 * patients} records are written on the laptop, {2 * len(for_bree)} of them shared with Dr Bree.")
    start = time.perf_counter()
    sent = await laptop.sync()
    report.add_rate("documents pushed", sent.pushed, time.perf_counter() - start)
    start = time.perf_counter()
    got = await story.phone.sync()
    report.add_rate("documents pulled", got.pulled, time.perf_counter() - start)
    await story.bree.sync()
    mine = {entity.id: entity for entity in await all_records(laptop)}
    with report.timed("records opened", len(mine)):
        on_phone = {entity.id: entity for entity in await all_records(story.phone)}
    report.check("A's two devices agree", ok=mine == on_phone, detail=f"{len(on_phone)} records, equal in every field")
    given = {entity.id for entity in mine.values() if B in entity.shared_with}
    at_bree = {entity.id for entity in await all_records(story.bree)}
    report.check(
        "B has what was shared with B, and no more",
        ok=given == at_bree,
        detail=f"{len(at_bree)} of {len(mine)} records",
    )
    report.counts |= {"patients": patients + 1, "records": len(mine), "shared with B": len(at_bree)}


async def two_at_once(story: Story, chart: Chart) -> None:
    """A's laptop and phone change the same note, both offline. Neither text is lost."""
    story.report.scene("6  Two devices change the same note, both offline")
    texts = {}
    for device, text in ((story.laptop, "Blistering and starvation diet ordered"), (story.phone, "Laudanum withheld")):
        john = await device.replica.get(Patient, chart.john.id)
        texts[device.name] = f"{john.note}. {text}"
        await story.write(device, john.replace(note=texts[device.name]))
    for device in (story.laptop, story.phone, story.laptop):
        await device.sync()
    shown = [await device.replica.get(Patient, chart.john.id) for device in (story.laptop, story.phone)]
    conflicts = [[conflict async for conflict in device.replica.conflicts()] for device in (story.laptop, story.phone)]
    kept = [1 + len(shown[0].alternatives.get("note", ())), *(len(one.leaves) for one in conflicts[0])]
    story.report.check(
        "both texts are kept, and both devices show the same",
        ok=shown[0] == shown[1] and shown[0].note in texts.values() and conflicts[0] == conflicts[1] and max(kept) == 2,
        detail=f"{max(kept)} versions of the note, the same one shown on laptop and phone",
    )


async def all_records(device: Device) -> list[Entity]:
    """Every record that this device can open."""
    found: list[Entity] = []
    for cls in (Patient, Contact, Form, HealthcareElement):
        found += [entity async for entity in _of_type(device, cls)]
    return found


def _of_type(device: Device, cls: type[E]) -> AsyncIterator[E]:
    return device.replica.find(cls)


async def _read(device: Device, entity: E) -> E | None:
    """The entity as this device shows it, None if it has none."""
    found = [one async for one in device.replica.find(type(entity)) if one.id == entity.id]
    return found[0] if found else None


def _john() -> Patient:
    return Patient(
        first_name="John",
        last_name="Keats",
        gender="male",
        date_of_birth=fuzzy_date("1795-10-31"),
        place_of_birth="Moorgate, London",
        profession="Licensed apothecary, poet by inclination",
        note="Lodges with Charles Brown; nursed his brother Thomas until December",
        addresses=(Address(address_type="home", street="Wentworth Place", city="Hampstead"),),
    )


def _cough() -> Contact:
    return Contact(
        description="Feverish and short of breath, having ridden outside the stagecoach",
        opening_date=fuzzy_date("1820-02-03T23:00"),
        location="Wentworth Place, upstairs bedroom",
        services=(
            Service(
                label="Temperature",
                content={"en": Content(measure_value=Measure(value=38.9, unit="degrees Celsius"))},
            ),
        ),
    )


def _blood() -> Contact:
    return Contact(
        description="Haemoptysis: bright arterial blood upon the pillow",
        opening_date=fuzzy_date("1820-02-04"),
        services=(
            Service(
                label="In his own words",
                content={"en": Content(string_value="That drop of blood is my death-warrant")},
            ),
        ),
    )


def _opinion() -> Contact:
    return Contact(
        description="Second opinion: lungs sound clear, nerves overwrought, cheerful company recommended",
        opening_date=fuzzy_date("1820-03-08"),
    )


def _patient(visit: Visit) -> Patient:
    return Patient(
        first_name=visit.first_name,
        last_name=visit.last_name,
        gender=visit.gender,
        date_of_birth=visit.date_of_birth,
        note=visit.remark,
    )


def _visit(visit: Visit) -> Contact:
    return Contact(
        description=visit.complaint,
        opening_date=fuzzy_date("2026-11-20"),
        services=(
            Service(label="Findings", content={"en": Content(string_value=visit.finding)}),
            Service(
                label="Temperature",
                content={"en": Content(measure_value=Measure(value=visit.temperature, unit="degrees Celsius"))},
            ),
        ),
    )
