"""What a full-text search finds, and what it must not."""

from __future__ import annotations

from icure_sync.model import (
    Address,
    Annotation,
    Attachment,
    Code,
    Contact,
    Content,
    Hcp,
    Medication,
    Patient,
    PersonName,
    Service,
    Telecom,
    search_text,
)


def test_names_notes_addresses_and_numbers_are_found():
    text = search_text(
        Patient(
            first_name="John",
            last_name="Keats",
            names=(PersonName(first_names=("John", "Junkets")),),
            note="haemoptysis",
            addresses=(Address(city="Hampstead", telecoms=(Telecom(telecom_number="0123"),)),),
        )
    )
    assert text.split("\n") == ["John", "Keats", "Junkets", "Hampstead", "0123", "haemoptysis"]


def test_code_labels_and_service_contents_are_found_at_every_depth():
    text = search_text(
        Contact(
            description="Cough",
            codes=(Code(type="ICD", code="A15", label={"en": "Tuberculosis"}),),
            services=(
                Service(
                    label="BP",
                    notes=(Annotation(text="seated"),),
                    content={
                        "en": Content(
                            string_value="high", compound_value=(Service(content={"en": Content(string_value="sys")}),)
                        ),
                        "fr": Content(medication_value=Medication(posology="1 par jour")),
                    },
                ),
            ),
        )
    )
    assert set(text.split("\n")) == {"Cough", "A15", "Tuberculosis", "BP", "seated", "high", "sys", "1 par jour"}


def test_ids_enumerations_and_keys_are_not_searched():
    assert search_text(Patient(id="p", gender="male", extra={"x": "y"}, languages=("en",))) == ""
    assert search_text(Attachment(name="scan.pdf", file_key="c2VjcmV0", sha256="00")) == "scan.pdf"
    assert search_text(Hcp(description={"en": "a practice"}, send_formats={"a": "b"})) == "a practice"
