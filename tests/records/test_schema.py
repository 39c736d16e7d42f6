"""The JSON Schema is what the structs say, describes every run of the gallery and new ones, and refuses others."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from compare_ag.records.schema import FILE, json_schema, schema_bytes

GALLERY = Path(__file__).resolve().parents[2] / "reports" / "gallery"
SCHEMA = json_schema()


def validator(kind):
    part = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    return jsonschema.Draft202012Validator(part)


def documents(folder):
    yield "Manifest", folder / "manifest.json"
    yield from (("BackendRecord", path) for path in sorted((folder / "records").glob("*.json")))
    if (folder / "graph.json").exists():
        yield "GraphDocument", folder / "graph.json"


def test_the_shipped_file_is_what_the_structs_say():
    assert FILE.read_bytes() == schema_bytes(), "after a change to a struct: python -m compare_ag.records.schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in GALLERY.glob("*/manifest.json")), ids=lambda p: p.name
)
def test_every_run_of_the_gallery_is_described(folder):
    for kind, path in documents(folder):
        validator(kind).validate(json.loads(path.read_text()))


def test_a_new_run_is_described_and_each_field_with_its_type(whole):
    for kind, path in documents(whole.path):
        document = json.loads(path.read_text())
        check = validator(kind)
        check.validate(document)
        properties = SCHEMA["$defs"][kind]["properties"]
        assert set(document) <= set(properties)
        for field in document:
            values = ({"not": ["this"]}, [0, "x"], 1.5)
            assert not all(check.is_valid(document | {field: value}) for value in values), (kind, field)
