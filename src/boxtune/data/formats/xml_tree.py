"""XML of unknown origin as a small tree that knows its line numbers.

Entities and external references are refused (defusedxml), and so is what is too large to be an annotation.
"""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, Locator

from defusedxml import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from boxtune.data.annotations import Annotation, AnnotationFile, Format
from boxtune.data.findings import ANNOTATION_UNREADABLE, FOREIGN, SkipError

MAX_BYTES = 16 * 2**20
_PEEKED_BYTES = 4096


class Node:
    """An element: `text` is what stands before its first child, `line` where it begins, counted from 1."""

    __slots__ = ("attributes", "children", "line", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        self.tag = tag
        self.attributes = attributes
        self.line = line
        self.text = ""
        self.children: list[Node] = []

    @property
    def place(self) -> str:
        """Where it begins in the file."""
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
    handler = _TreeBuilder()
    parser = DefusedExpatParser(forbid_entities=True, forbid_external=True)
    parser.setContentHandler(handler)
    try:
        if path.stat().st_size > max_bytes:
            raise SkipError(ANNOTATION_UNREADABLE, f"it has more than {max_bytes >> 20} MiB.")
        data = path.read_bytes()
        # Some programs write blank lines before the XML declaration, which no parser accepts.
        content = data.lstrip()
        handler.first_line = 1 + data[: len(data) - len(content)].count(b"\n")
        parser.parse(io.BytesIO(content))
    except SAXParseException as error:
        line = handler.first_line - 1 + (error.getLineNumber() or 1)
        raise SkipError(ANNOTATION_UNREADABLE, f"{error.getMessage()}.", f"line {line}") from error
    except (DefusedXmlException, ValueError, LookupError, OSError) as error:
        raise SkipError(ANNOTATION_UNREADABLE, f"{type(error).__name__}: {error}.") from error
    return handler.root


def root_tag(path: Path) -> str:
    """Return the tag of the root element, reading as little as possible; "" if it cannot be told."""
    finder = _RootFinder()
    parser = DefusedExpatParser(forbid_entities=True, forbid_external=True)
    parser.setContentHandler(finder)
    try:
        with path.open("rb") as file:
            parser.feed(file.read(_PEEKED_BYTES).lstrip())
    except (_FoundError, SAXParseException, DefusedXmlException, ValueError, LookupError, OSError):
        pass
    return finder.tag


class _TreeBuilder(ContentHandler):
    """Builds the tree without recursion, so that no depth of nesting can exhaust the stack."""

    def __init__(self) -> None:
        super().__init__()
        self.first_line = 1
        self._above: list[Node] = []

    def setDocumentLocator(self, locator: Locator) -> None:
        """Take over what knows the line."""
        self._locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        """Add an element below the innermost open one."""
        node = Node(name, dict(attrs), (self._locator.getLineNumber() or 1) + self.first_line - 1)
        if self._above:
            self._above[-1].children.append(node)
        else:
            self.root = node
        self._above.append(node)

    def endElement(self, name: str) -> None:
        """Close the innermost element."""
        self._above.pop()

    def characters(self, content: str) -> None:
        """Add to the text of the innermost element."""
        node = self._above[-1]
        if not node.children:
            node.text += content


class _FoundError(Exception):
    """The root element has been seen; nothing more has to be read."""


class _RootFinder(ContentHandler):
    def __init__(self) -> None:
        super().__init__()
        self.tag = ""

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        """Note the tag and stop."""
        self.tag = name
        raise _FoundError
