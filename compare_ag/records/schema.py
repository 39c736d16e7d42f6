"""The JSON Schema of a run's files, made from the records: ``run.schema.json``, shipped beside this module.

``$defs/Manifest`` describes manifest.json, ``$defs/BackendRecord`` each records/NAME.json, ``$defs/GraphDocument``
graph.json. It states the fields and their types; for ranges and relations see `ranges`.

    python -m compare_ag.records.schema      writes the file again
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from compare_ag.records.base import SCHEMA_MAJOR, SCHEMA_MINOR, SCHEMA_NAME
from compare_ag.records.documents import BackendRecord, Manifest
from compare_ag.records.files import write_bytes
from compare_ag.records.graphs import GraphDocument

FILE = Path(__file__).with_name("run.schema.json")
DOCUMENTS = {"manifest.json": Manifest, "records/NAME.json": BackendRecord, "graph.json": GraphDocument}


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    references, definitions = msgspec.json.schema_components(DOCUMENTS.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{SCHEMA_NAME} {SCHEMA_MAJOR}.{SCHEMA_MINOR}",
        "description": f"One of the files {', '.join(DOCUMENTS)} of a run directory of compare-ag.",
        "anyOf": list(references),
        "$defs": definitions,
    }


def schema_bytes() -> bytes:
    """The file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"


if __name__ == "__main__":
    write_bytes(FILE, schema_bytes())
