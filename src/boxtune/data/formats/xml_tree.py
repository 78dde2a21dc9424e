"""XML of unknown origin as a small tree that knows its line numbers.

Entities and external references are refused, and so is what is too large to be an annotation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from boxtune.data.annotations import Annotation, AnnotationFile, Format
from boxtune.data.findings import ANNOTATION_UNREADABLE, FOREIGN, SkipError

MAX_BYTES = 16 * 2**20
_PEEKED_BYTES = 4096


@dataclass(slots=True)
class Node:
    """An element: `text` is what stands before its first child, `line` where it starts, counted from 1."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list["Node"] = field(default_factory=list)
    text: str = ""

    @property
    def location(self) -> str:
        """Where it starts in the file."""
        return f"line {self.line}"

    def all(self, tag: str) -> Iterator["Node"]:
        """Return the children of that tag."""
        return (child for child in self.children if child.tag == tag)

    def first(self, path: str) -> "Node | None":
        """Return the first element at a path such as "bndbox/xmin", None if there is none."""
        node: Node | None = self
        for tag in path.split("/"):
            node = next(node.all(tag), None) if node else None
        return node

    def text_at(self, path: str) -> str:
        """Return the text of the first element at a path without blanks around it, "" if there is none."""
        node = self.first(path)
        return node.text.strip() if node else ""


def xml_format(
    name: str,
    title: str,
    tag: str,
    read: Callable[[AnnotationFile, Node], Iterator[Annotation]],
    *,
    max_bytes: int = MAX_BYTES,
) -> Format:
    """Return a format of XML files: those whose root has a `tag`, which `read` takes beside the file."""

    def read_root(file: AnnotationFile) -> Iterator[Annotation]:
        root = read_xml(file.path, max_bytes=max_bytes)
        if root.tag != tag:
            raise SkipError(FOREIGN, f"its root is <{root.tag}>, not <{tag}>.")
        return read(file, root)

    return Format(name, title, frozenset({".xml"}), lambda path: root_tag(path) == tag, read_root)


def read_xml(path: Path, *, max_bytes: int = MAX_BYTES) -> Node:
    """Return the root element of a file.

    Raises SkipError if it cannot be read, is not well-formed, declares entities or has more than `max_bytes`.
    """
    first_line = 0  # counted from 0
    try:
        if path.stat().st_size > max_bytes:
            raise SkipError(ANNOTATION_UNREADABLE, f"it has more than {max_bytes >> 20} MiB.")
        data = path.read_bytes()
        # Some programs write blank lines before the XML declaration, which no parser accepts.
        content = data.lstrip()
        first_line = data[: len(data) - len(content)].count(b"\n")
        return _tree(content, first_line)
    except expat.ExpatError as error:
        line = f"line {first_line + error.lineno}"
        raise SkipError(ANNOTATION_UNREADABLE, f"{expat.ErrorString(error.code)}.", line) from error
    except (ValueError, LookupError, OSError) as error:
        raise SkipError(ANNOTATION_UNREADABLE, f"{type(error).__name__}: {error}.") from error


def _tree(content: bytes, first_line: int) -> Node:
    """Return the root element, built without recursion, so that no depth of nesting can exhaust the stack."""
    parser = _safe_parser()
    above = [Node("", {}, 0)]

    def start(tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, first_line + parser.CurrentLineNumber)
        above[-1].children.append(node)
        above.append(node)

    def add_text(text: str) -> None:
        if not above[-1].children:
            above[-1].text += text

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: above.pop()
    parser.CharacterDataHandler = add_text
    parser.Parse(content, True)
    return above[0].children[0]


def root_tag(path: Path) -> str:
    """Return the tag of the root element, reading as little as possible; "" if it is unknown."""
    tags: list[str] = []
    parser = _safe_parser()
    parser.StartElementHandler = lambda tag, attributes: tags.append(tag)
    try:
        with path.open("rb") as file:
            parser.Parse(file.read(_PEEKED_BYTES).lstrip(), False)
    except (expat.ExpatError, SkipError, ValueError, LookupError, OSError):
        pass
    return tags[0] if tags else ""


def _safe_parser() -> expat.XMLParserType:
    """Return a parser that refuses entities, which can be made to grow without end or to read other files."""

    def refuse(*declaration: object) -> int:
        raise SkipError(ANNOTATION_UNREADABLE, "it declares entities, which are not read.")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    return parser
