"""`rootspace identities`: the classes of a gallery, and new ones from a few images.

  rootspace identities RUN enroll NAME IMAGE ...    a class from images, recognized at once
  rootspace identities RUN unknowns                 unlabeled images in groups that may be classes
  rootspace identities RUN label NAME ID ...        say what items are: the other unknowns follow
  rootspace identities RUN why IMAGE ...            nearest classes and images, and the margin

RUN is a run whose own gallery `rootspace index RUN` made, or the folder of any gallery. No change
touches the run; each is written down, and `undo` takes the last one back, after a restart too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict

from rootspace._terminal import one_line, say, table
from rootspace.gallery import Change, Gallery, Identities, Rejected
from rootspace.run import load

from ._arguments import add_device, cosine, image_files
from ._embedding import Unread
from ._gallery import add_gallery, places
from ._output import add_format, answer
from ._parser import Parser, path


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    folder, own = places(options.run)
    with Gallery.open(folder, load(own, options.device)) as gallery:
        ACTIONS[options.action](Identities(gallery), options)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace identities", description=__doc__)
    add_gallery(parser)
    add_device(parser)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        found = actions.add_parser(name, help=text)
        add_format(found)
        return found

    action("list", "all classes, with their images")
    enroll = action("enroll", "a class from images, or more images of a class")
    enroll.add_argument("name", metavar="NAME")
    enroll.add_argument("paths", nargs="+", type=path, metavar="IMAGE", help="files or folders")
    enroll.add_argument(
        "--no_review",
        action="store_true",
        help="take images that are far from the others or nearer to another class too",
    )
    unknowns = action("unknowns", "images that no class explains, in groups")
    unknowns.add_argument("--min_size", type=int, default=2, help="smaller groups are left out")
    unknowns.add_argument("--min_cosine", type=cosine, help="groups merge from this mean cosine on")
    label = action("label", "say which class items are of; a new name makes a class")
    label.add_argument("name", metavar="NAME")
    label.add_argument("ids", nargs="+", type=int, metavar="ID")
    unlabel = action("unlabel", "take the labels of items away")
    unlabel.add_argument("ids", nargs="+", type=int, metavar="ID")
    merge = action("merge", "classes become one")
    merge.add_argument("names", nargs="+", metavar="NAME", help="those that go")
    merge.add_argument("--into", required=True, metavar="NAME", help="the one that stays")
    split = action("split", "items of a class become a class of their own")
    split.add_argument("name", metavar="NAME")
    split.add_argument("new", metavar="NEW")
    split.add_argument("ids", nargs="+", type=int, metavar="ID")
    rename = action("rename", "give a class another name")
    rename.add_argument("name", metavar="NAME")
    rename.add_argument("new", metavar="NEW")
    for name, text in (("retire", "recognize a class no more"), ("restore", "recognize it again")):
        action(name, text).add_argument("name", metavar="NAME")
    action("undo", "take the last change back that was not taken back yet")
    history = action("history", "what was changed, the last first")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="how many; default 20")
    why = action("why", "why images are taken for their classes")
    why.add_argument("paths", nargs="+", type=path, metavar="IMAGE", help="files or folders")
    why.add_argument("--top", type=int, default=3, metavar="K", help="classes and items; default 3")
    return parser


def _list(identities: Identities, options: argparse.Namespace) -> None:
    found = identities.all()
    header = ["class", "label", "images", "of these automatic", "state"]
    rows = [
        [
            one_line(one.name),
            f"{one.label}",
            f"{one.images:,}",
            f"{one.automatic:,}",
            "retired" if one.retired else "enrolled" if one.enrolled else "",
        ]
        for one in found
    ]
    answer(options, table(header, rows), [asdict(one) for one in found])


def _enroll(identities: Identities, options: argparse.Namespace) -> None:
    files = image_files(options.paths)
    found = identities.enroll(options.name, files, review=not options.no_review)
    for one in found.rejected:
        say(one_line(_refused(one, str(files[one.index]))))
    text = (
        f"{one_line(found.identity.name)}: {len(found.ids)} of {len(files)} images taken, "
        f"{found.identity.images} in all; {len(found.reassigned)} others labeled anew"
    )
    answer(options, text, asdict(found))


def _refused(one: Rejected, file: str) -> str:
    return one.message if one.reason == "unreadable" else f"{file}: {one.message}"


def _unknowns(identities: Identities, options: argparse.Namespace) -> None:
    groups = identities.unknowns(min_size=options.min_size, min_cosine=options.min_cosine)
    lines = []
    for group in groups:
        lines.append(
            f"{len(group.ids)} items, cohesion {group.cohesion:.3f}, nearest "
            f"{one_line(group.nearest.name)} {group.nearest.cosine:.3f}"
        )
        items = identities.gallery.get(group.ids)
        lines += [f"  {item.id}  {one_line(item.path or '-')}" for item in items]
    answer(options, "\n".join(lines) or "no groups", [asdict(group) for group in groups])


def _why(identities: Identities, options: argparse.Namespace) -> None:
    if options.top < 1:
        raise ValueError(f"Argument '--top' must be at least 1, not {options.top}.")
    lines, contents, unread = list[str](), list[object](), Unread()
    files = image_files(options.paths)
    for file in files:
        try:
            (found,) = identities.why([file], options.top)
        except ValueError as error:
            unread.add(str(error))
            continue
        contents.append({"path": str(file), **asdict(found)})
        margin = "" if found.margin is None else f", margin {found.margin:.3f}"
        state = f"{'known' if found.known else 'unknown'}{', ambiguous' * found.ambiguous}{margin}"
        lines.append(f"{one_line(str(file))}  {state}")
        lines += [f"  class {m.cosine:.3f}  {one_line(m.name)}" for m in found.matches]
        for hit in found.neighbors:
            label = one_line(hit.label or "-")
            lines.append(
                f"  image {hit.cosine:.3f}  {hit.id}  {label}  {one_line(hit.path or '-')}"
            )
    answer(options, "\n".join(lines), contents)
    unread.check(len(files))


def _history(identities: Identities, options: argparse.Namespace) -> None:
    _tell_all(list(identities.history(options.limit)), options)


def _tell_all(changes: list[Change], options: argparse.Namespace) -> None:
    lines = [_line(change) for change in changes]
    answer(options, "\n".join(lines) or "nothing", [asdict(change) for change in changes])


def _tell(change: Change, options: argparse.Namespace) -> None:
    answer(options, _line(change), asdict(change))


def _line(change: Change) -> str:
    undone = "  (undone)" if change.undone else ""
    what = f"{change.number}  {change.at}  {change.action} {one_line(change.detail)}"
    return f"{what}, {change.items} labels{undone}"


ACTIONS: dict[str, Callable[[Identities, argparse.Namespace], None]] = {
    "list": _list,
    "enroll": _enroll,
    "unknowns": _unknowns,
    "why": _why,
    "history": _history,
    "label": lambda i, o: _tell(i.label(o.ids, o.name), o),
    "unlabel": lambda i, o: _tell(i.label(o.ids, None), o),
    "merge": lambda i, o: _tell(i.merge(o.names, o.into), o),
    "split": lambda i, o: _tell(i.split(o.name, o.ids, o.new), o),
    "rename": lambda i, o: _tell(i.rename(o.name, o.new), o),
    "retire": lambda i, o: _tell(i.retire(o.name), o),
    "restore": lambda i, o: _tell(i.restore(o.name), o),
    "undo": lambda i, o: _tell(i.undo(), o),
}
