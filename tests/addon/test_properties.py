"""What the panel offers is what the backend can do, by its names and with its defaults."""

import ast
from pathlib import Path

from backend import options

SOURCE = Path(__file__).resolve().parents[2] / "addon/properties.py"


def test_the_methods_are_the_backends_and_the_default_is_too():
    tree = ast.parse(SOURCE.read_text("utf-8"))
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    offered = [name for name, *_ in ast.literal_eval(assigned["METHODS"])]
    assert sorted(offered) == sorted(options.METHODS)
    defaults = [
        keyword.value.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and any(word.arg == "items" and _named(word.value) for word in call.keywords)
        for keyword in call.keywords
        if keyword.arg == "default"
    ]
    assert defaults == [options.DEFAULT_METHOD]


def _named(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "METHODS"
