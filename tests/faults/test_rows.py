"""Every fault of FAULTS.md is named in the first words of the modules that the page says cover it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROW = re.compile(r"^\| (\d+) \|.*\| (.*) \|$", re.MULTILINE)
MODULE = re.compile(r"`([\w/]+?)(?:\.py)?`")


def test_every_fault_is_in_the_module_that_covers_it():
    rows = ROW.findall((HERE / "FAULTS.md").read_text())
    assert [int(number) for number, _ in rows] == list(range(11, 33))
    for number, modules in rows:
        for module in MODULE.findall(modules):
            if "/" in module:
                assert (HERE.parents[1] / f"{module}.py").exists()
                continue
            said = ast.get_docstring(ast.parse((HERE / f"{module}.py").read_text())) or ""
            assert re.search(rf"^Faults?[ ,\d]*\b{number}\b", said), f"{module} does not name fault {number}"
