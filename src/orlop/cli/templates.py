"""The subset of Go's text/template that Docker's --format needs: fields, variables, pipelines, if, range, with, functions."""

from orlop.cli.render import Row, tabulate
from orlop.cli.session import Failure
from orlop.cli.template_functions import FUNCTIONS, TemplateError, field_of, text_of, true
from orlop.client.documents import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scope = dict[str, Any]
    Evaluate = Callable[[Any, Scope], Any]
    Node = Callable[[Any, Scope], str]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
SYMBOLS = ("|", "(", ")", ",")
CONSTANTS = {"true": True, "false": False, "nil": None}


class Template:
    """A parsed template. Raises Failure (exit code 64, as Docker's inspect) for text that is none."""

    def __init__(self, text: str, *, complaint: str = "template parsing error", code: int = 64) -> None:
        try:
            self._node = _Parser(text).parse()
        except TemplateError as error:
            raise Failure(f"{complaint}: template: :1: {error}", code) from None

    def render(self, value: "Any") -> str:
        """The template filled in. Raises Failure when it asks for what is not there."""
        try:
            return self._node(value, {"$": value})
        except TemplateError as error:
            raise Failure(f'template parsing error: template: :1: executing "" at {error}') from None


def render_rows(format: str, header: Row, rows: list[Row]) -> str:
    """Rows by a template, one line each; `table TEMPLATE` gives them headers and columns."""
    text = format.removeprefix("table") if format.startswith("table ") or format.startswith("table\\t") else format
    is_table = text != format
    template = Template(text.strip(" ").replace("\\t", "\t").replace("\\n", "\n"), complaint="failed to parse template", code=1)
    lines = "".join(f"{template.render(row)}\n" for row in rows)
    if not is_table:
        return lines
    return tabulate(f"{template.render(header)}\n{lines}")


class _Parser:
    """Recursive descent: text and actions, then the tokens of each action."""

    def __init__(self, text: str) -> None:
        self._pieces = _split(text)
        self._at = 0

    def parse(self) -> "Node":
        node, ending = self._sequence(())
        if ending:
            raise TemplateError(f"unexpected {{{{{ending}}}}}")
        return node

    def _sequence(self, endings: tuple[str, ...]) -> "tuple[Node, str]":
        """Nodes until one of the endings (the ending's words are returned) or the end of the text."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            is_action, text = self._pieces[self._at]
            self._at += 1
            if not is_action:
                nodes.append(_literal(text))
                continue
            words = text.split(None, 1)
            keyword = words[0] if words else ""
            if keyword in ("end", "else"):
                if keyword not in endings:
                    raise TemplateError(f"unexpected {{{{{text}}}}}")
                return _joined(nodes), text
            if keyword in _BLOCKS:
                nodes.append(self._block(keyword, words[1] if len(words) > 1 else ""))
            elif not text.startswith("/*"):
                nodes.append(_action(text))
        if endings:
            raise TemplateError("unexpected EOF")
        return _joined(nodes), ""

    def _block(self, keyword: str, condition: str) -> "Node":
        names, evaluate = _Pipeline(condition).declared()
        body, ending = self._sequence(("end", "else"))
        otherwise = _joined([])
        words = ending.split(None, 2)
        if words[0] == "else" and len(words) > 1:  # {{else if X}}
            otherwise = self._block(words[1], words[2] if len(words) > 2 else "")
        elif words[0] == "else":
            otherwise, ending = self._sequence(("end",))
        return _BLOCKS[keyword](names, evaluate, body, otherwise)


def _split(text: str) -> list[tuple[bool, str]]:
    """(is it an action, its text) in turn; white space that {{- and -}} take is gone."""
    pieces: list[tuple[bool, str]] = []
    trim = False
    while True:
        literal, mark, rest = text.partition("{{")
        literal = literal.lstrip() if trim else literal
        if mark and rest[:1] == "-" and rest[1:2].isspace():
            literal, rest = literal.rstrip(), rest[1:]
        if literal:
            pieces.append((False, literal))
        if not mark:
            return pieces
        end = _end_of_action(rest)
        action, text = rest[:end], rest[end + 2 :]
        trim = action.endswith("-") and action[-2:-1].isspace()
        pieces.append((True, (action[:-1] if trim else action).strip()))


def _end_of_action(text: str) -> int:
    quote, at = "", 0
    while at < len(text):
        if quote:
            if text[at] == "\\" and quote != "`":
                at += 1
            elif text[at] == quote:
                quote = ""
        elif text[at] in "\"'`":
            quote = text[at]
        elif text.startswith("}}", at):
            return at
        at += 1
    raise TemplateError("unclosed action")


def _literal(text: str) -> "Node":
    return lambda dot, scope: text


def _joined(nodes: "list[Node]") -> "Node":
    return lambda dot, scope: "".join([node(dot, scope) for node in nodes])


def _action(text: str) -> "Node":
    names, evaluate = _Pipeline(text).declared()
    if not names:
        return lambda dot, scope: text_of(evaluate(dot, scope))

    def assign(dot: "Any", scope: "Scope") -> str:
        scope[names[0]] = evaluate(dot, scope)
        return ""

    return assign


def _if(names: list[str], evaluate: "Evaluate", body: "Node", otherwise: "Node") -> "Node":
    def node(dot: "Any", scope: "Scope") -> str:
        value = evaluate(dot, scope)
        inner = {**scope, **dict.fromkeys(names, value)}
        return (body if true(value) else otherwise)(dot, inner)

    return node


def _with(names: list[str], evaluate: "Evaluate", body: "Node", otherwise: "Node") -> "Node":
    def node(dot: "Any", scope: "Scope") -> str:
        value = evaluate(dot, scope)
        inner = {**scope, **dict.fromkeys(names, value)}
        return body(value, inner) if true(value) else otherwise(dot, inner)

    return node


def _range(names: list[str], evaluate: "Evaluate", body: "Node", otherwise: "Node") -> "Node":
    def node(dot: "Any", scope: "Scope") -> str:
        value = evaluate(dot, scope)
        if isinstance(value, int) and not isinstance(value, bool):
            value = list(range(value))
        if value and not isinstance(value, (dict, list, tuple)):
            raise TemplateError(f"range can't iterate over {text_of(value)}")
        if not value:
            return otherwise(dot, scope)
        items = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value))
        out = []
        for key, item in items:
            inner = {**scope, **dict(zip(names, (key, item) if len(names) == 2 else (item,), strict=False))}
            out.append(body(item, inner))
        return "".join(out)

    return node


_BLOCKS = {"if": _if, "range": _range, "with": _with}


class _Pipeline:
    """The inside of an action: `$x := .Field | function "argument"`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def declared(self) -> "tuple[list[str], Evaluate]":
        """The variables that the pipeline is assigned to, and the pipeline."""
        names = []
        for mark in (":=", "="):
            if mark in self._tokens:
                end = self._tokens.index(mark)
                names = [token for token in self._tokens[:end] if token != ","]
                self._at = end + 1
                break
        evaluate = self._pipeline()
        if self._at < len(self._tokens):
            raise TemplateError(f"unexpected {self._tokens[self._at]} in operand")
        return names, evaluate

    def _pipeline(self) -> "Evaluate":
        evaluate = self._command(None)
        while self._peek() == "|":
            self._at += 1
            evaluate = self._command(evaluate)
        return evaluate

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _command(self, last: "Evaluate | None") -> "Evaluate":
        """A function with its arguments, or one operand; what came through the pipe is the last argument."""
        token = self._peek()
        if not token or token in ("|", ")"):
            raise TemplateError("missing value for command")
        name = token if token[0] in LETTERS[:53] and token not in CONSTANTS else ""
        if name:
            if name not in FUNCTIONS:
                raise TemplateError(f'function "{name}" not defined')
            self._at += 1
        operands = []
        while self._peek() and self._peek() not in ("|", ")"):
            operands.append(self._operand())
        if last:
            operands.append(last)
        if name:
            return _call(name, operands)
        first, *rest = operands
        return _method(first, rest) if rest else first

    def _operand(self) -> "Evaluate":
        token = self._tokens[self._at]
        self._at += 1
        if token == "(":
            inner = self._pipeline()
            if self._peek() != ")":
                raise TemplateError("unclosed left paren")
            self._at += 1
            chain = self._peek()
            if chain.startswith(".") and chain != ".":
                self._at += 1
                return _chain(inner, chain)
            return inner
        if token[0] == ".":
            return _chain(lambda dot, scope: dot, token)
        if token[0] == "$":
            name, dot_mark, rest = token.partition(".")
            return _chain(_variable(name), dot_mark + rest)
        if token[0] in LETTERS[:53] and token not in CONSTANTS and token in FUNCTIONS:
            return _call(token, [])
        value = _constant(token)
        return lambda dot, scope: value


def _variable(name: str) -> "Evaluate":
    def read(dot: "Any", scope: "Scope") -> "Any":
        if name not in scope:
            raise TemplateError(f'undefined variable "{name}"')
        return scope[name]

    return read


def _chain(base: "Evaluate", path: str) -> "Evaluate":
    names = [name for name in path.split(".") if name]

    def read(dot: "Any", scope: "Scope") -> "Any":
        value = base(dot, scope)
        for name in names:
            value = field_of(value, name, path)
        return value

    return read


def _call(name: str, operands: "list[Evaluate]") -> "Evaluate":
    function = FUNCTIONS[name]

    def call(dot: "Any", scope: "Scope") -> "Any":
        try:
            return function(*[operand(dot, scope) for operand in operands])
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise TemplateError(f"<{name}>: error calling {name}: {error}") from None

    return call


def _method(base: "Evaluate", operands: "list[Evaluate]") -> "Evaluate":
    """`.Label "name"`: a field that is a function."""

    def call(dot: "Any", scope: "Scope") -> "Any":
        function = base(dot, scope)
        if not callable(function):
            raise TemplateError(f"<{dumps(function)}>: can't give argument to non-function")
        return function(*[operand(dot, scope) for operand in operands])

    return call


def _constant(token: str) -> "Any":
    if token in CONSTANTS:
        return CONSTANTS[token]
    if token[0] == '"':
        from orlop.client.documents import parse

        return parse(token)
    if token[0] == "`":
        return token[1:-1]
    if token[0] == "'":
        return ord(token[1])
    try:
        return int(token, 0)
    except ValueError:
        pass
    try:
        return float(token)
    except ValueError:
        raise TemplateError(f'function "{token}" not defined') from None


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if char in SYMBOLS:
            end = at + 1
        elif text.startswith(":=", at):
            end = at + 2
        elif char == "=":
            end = at + 1
        elif char in "\"`'":
            end = _closing(text, at)
        elif char in LETTERS or char in ".$-+":
            end = at + 1
            while end < len(text) and (text[end] in LETTERS or text[end] == "."):
                end += 1
        else:
            raise TemplateError(f"unexpected {dumps(char)} in command")
        tokens.append(text[at:end])
        at = end
    return tokens


def _closing(text: str, at: int) -> int:
    quote, end = text[at], at + 1
    while end < len(text):
        if text[end] == "\\" and quote != "`":
            end += 1
        elif text[end] == quote:
            return end + 1
        end += 1
    raise TemplateError("unterminated quoted string")
