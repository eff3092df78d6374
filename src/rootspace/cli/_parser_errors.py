"""What jsonargparse says of settings, in the words of this program.

Its messages tell of union types, import paths and its own classes. These name the setting, the
value, what was expected, and the nearest name where one was mistyped. What is not recognized is
left as it is.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

SETTING = re.compile(r'Parser key "(?P<key>[^"]+)": (?P<what>.*)', re.DOTALL)
INNER = re.compile(r"Problem with given class_path '(?P<path>[^']+)': (?P<what>.*)", re.DOTALL)
OTHER_KINDS = (" - Import path", " - Problem with", " - Expected a <class 'NoneType'> Given")
"""How the complaints go on that a value is none of the other types of a setting."""

SHORT = 5
"""Letters of a name in which one may be wrong and most are."""

SHOWN = 16
"""Short names of classes that a message has room for."""

TYPE = re.compile(r"Expected a (?P<kind>.+?)\. Got value: (?P<value>.*)", re.DOTALL)
UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: [\[(](?P<kinds>.*?)[\])] "
    r"Errors: .*Given value: (?P<value>.*)",
    re.DOTALL,
)
NO_CLASS = re.compile(r"Expected a dot import path string: (?P<value>\S+)")
GIVEN = re.compile(r"Given value: (?P<value>\S+)$")
MISSING_MODULE = re.compile(r"(?P<what>No module named '[^']+'|module '[^']+' has no attribute .*)")
OPTION = re.compile(r"Option '(?P<name>[^']+)' is not accepted")
REQUIRED = re.compile(r"the following arguments are required: (?P<names>.*)")
UNKNOWN = re.compile(r"unrecognized arguments: (?P<arguments>.*)", re.DOTALL)
GROUP = re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<name>[^']+)'")
HELP = re.compile(rf"--(?P<section>\w+)\.help: {NO_CLASS.pattern}")
NO_FILE = re.compile(r"File does not exist: '(?P<path>.*)'")

WRITTEN = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text",
           "list": "a list such as [A, B]", "NoneType": "null"}  # fmt: skip
"""Types as a user would call them."""


def explain(
    message: str,
    options: Collection[str],
    classes: Mapping[str, Sequence[str]],
    hidden: Mapping[str, Collection[str]],
) -> str:
    """A message of the parser in plain words; as it is where none fit.

    Args:
        message: of the parser's exception.
        options: that the parser knows, such as "train.epochs".
        classes: section -> short names of the classes that it can be.
        hidden: section -> arguments of its classes that are no settings.
    """
    text = " ".join(message.split())
    if found := UNKNOWN.fullmatch(text):
        return _unknown(found["arguments"], options)
    if found := HELP.fullmatch(text):
        names = classes.get(found["section"], ())
        return _no_class(f"--{found['section']}.help", found["value"], names)
    if found := GROUP.fullmatch(text):
        key = f"{found['group']}.{found['name']}"
        return f"Argument '{key}' is not known{_instead(key, options)}."
    if found := SETTING.fullmatch(text):
        key, what = found["key"], found["what"]
        inner = INNER.search(what)
        if inner is not None:
            plain = _of_class(key, inner["path"], _without_others(inner["what"]), hidden)
        else:
            plain = _not_named(key, what, classes.get(key, ())) or _of_type(key, what)
        return plain or text
    return text


def _without_others(what: str) -> str:
    """What is said of one type, without the complaints that the value is of no other."""
    for start in OTHER_KINDS:
        if start in what:
            return what.rpartition(start)[0]
    return what


def _of_type(key: str, what: str) -> str | None:
    """That a value is of another type than a setting."""
    for pattern, part in ((UNION, "kinds"), (TYPE, "kind")):
        if found := pattern.fullmatch(what):
            return f"Argument '{key}' must be {_kinds(found[part])}, not {found['value']!r}."
    return None


def _of_class(
    section: str, path: str, what: str, hidden: Mapping[str, Collection[str]]
) -> str | None:
    """What is wrong with a class of a setting, or with an argument of it."""
    name = path.rpartition(".")[2]
    if found := OPTION.match(what):
        known = _arguments(path, hidden.get(section, ()))
        hint = _instead(found["name"], known)
        settings = ", ".join(known)
        return (
            f"Argument '{section}.{found['name']}' is not known: {name} "
            + (f"has {settings}" if settings else "has no settings")
            + (hint or f"; --{section} names another class")
            + "."
        )
    if found := REQUIRED.match(what):
        missing = [f"'{section}.{each.strip()}'" for each in found["names"].split(",")]
        return f"Argument '{section}' = {name} needs {' and '.join(missing)}."
    if found := SETTING.fullmatch(what):
        return _of_type(f"{section}.{found['key']}", found["what"])
    if found := MISSING_MODULE.match(what):
        return f"Argument '{section}' cannot be {path!r}: {found['what']}."
    return None


def _not_named(section: str, what: str, classes: Sequence[str]) -> str | None:
    """That there is no such file, class or function."""
    if found := NO_FILE.fullmatch(what):
        return f"Argument '{section}' must be a file: {found['path']} does not exist."
    given = GIVEN.search(what)
    if found := NO_CLASS.search(what):
        return _no_class(section, found["value"].rstrip("."), classes)
    if given and "does not correspond to a subclass of" in what:
        return _no_class(section, given["value"], classes)
    if given and (found := MISSING_MODULE.search(what)):
        reason = _without_others(found["what"])
        return f"Argument '{section}' cannot be {given['value']!r}: {reason}."
    return None


def _no_class(section: str, value: str, classes: Sequence[str]) -> str:
    """That a value names no class that the setting can have."""
    hint = _instead(value, classes)
    if section == "model" and not hint and _is_timm(value):
        hint = f"; for timm's network: --model TimmBackbone --model.name {value}"
    return f"Argument '{section}' must be {expected(classes)}, not {value!r}{hint}."


def expected(classes: Sequence[str]) -> str:
    """What names a class, where these are known by short names."""
    named = ", ".join(classes) if len(classes) <= SHOWN else "a class by its short name"
    return f"{named} or the import path of a class" if named else "the import path of a class"


def _is_timm(value: str) -> bool:
    """Whether timm, where it is installed, has a network of this name."""
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        return False
    return timm.is_model(value)


def _unknown(arguments: str, options: Collection[str]) -> str:
    first = arguments.partition(" ")[0]
    if not first.startswith("--"):
        folder = f"; did you mean --data ImageFolder --data.root {first}?"
        return f"unrecognized arguments: {arguments}{folder if os.path.isdir(first) else ''}"
    option = first.removeprefix("--").partition("=")[0].replace("-", "_")
    # As other programs call it, without the section.
    last = {each: each.rpartition(".")[2] for each in options}
    near = difflib.get_close_matches(option.lower(), set(last.values()), n=1, cutoff=0.8)
    whole = sorted(f"--{each}" for each in options if last[each] in near)
    hint = f"; did you mean {' or '.join(whole)}?" if whole else ""
    return f"unrecognized arguments: {arguments}{hint or _instead(option, options, prefix='--')}"


def _instead(name: str, known: Iterable[str], prefix: str = "") -> str:
    """The name that was meant, if one is near; capital letters do not count."""
    lower = {each.lower(): each for each in known}
    # In a short name one change is much: SDG for SGD.
    cutoff = 0.6 if len(name) < SHORT else 0.7
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return f"; did you mean {prefix}{lower[near[0]]}?" if near else ""


def _kinds(text: str) -> str:
    """Types as jsonargparse writes them, in words."""
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", text):
        each = choices[1].replace("'", "").split(", ")
        return "one of " + ", ".join(dict.fromkeys(each))
    names: list[str] = re.findall(r"<class '([^']+)'>", text)
    kinds = [WRITTEN.get(name) or name.rpartition(".")[2] for name in names]
    return " or ".join(kinds) or text


def _arguments(path: str, hidden: Collection[str]) -> list[str]:
    """Settings of a class: what it is made with, but for what a run knows itself."""
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
        parameters = inspect.signature(cls).parameters.values()
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in variable and p.name not in hidden]
